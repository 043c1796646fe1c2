// VFIO, one function an operation (include/uapi/linux/vfio.h). What comes back as a structure with a chain of capabilities is read in TypeScript.
#include "device.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <vector>

namespace device {
namespace {

using namespace shm;

constexpr size_t kMostNameBytes = 63;
constexpr int64_t kMostIndex = 1024;   // of a region or of an interrupt
constexpr size_t kMostVectors = 2048;  // PCI Local Bus 3.0, 6.8.2
constexpr int64_t kPageBytes = 4096;

Napi::Value AttachGroup(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int container = Descriptor(info, 0, "container");
  const int group = Descriptor(info, 1, "group");
  const unsigned long type = static_cast<unsigned long>(Whole(info, 2, "type", 1, 16));
  if (ioctl(container, VFIO_GET_API_VERSION) != VFIO_API_VERSION) Fail(env, "VFIO_GET_API_VERSION", ENOTTY);
  vfio_group_status status = {};
  status.argsz = sizeof status;
  if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) != 0) Fail(env, "VFIO_GROUP_GET_STATUS");
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) Fail(env, "VFIO_GROUP_GET_STATUS", EBUSY);
  if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) != 0) Fail(env, "VFIO_GROUP_SET_CONTAINER");
  if (ioctl(container, VFIO_SET_IOMMU, type) != 0) Fail(env, "VFIO_SET_IOMMU");
  return env.Undefined();
}

Napi::Value OpenDevice(const Napi::CallbackInfo& info) {
  const int group = Descriptor(info, 0, "group");
  const std::string name = Text(info, 1, "name", kMostNameBytes);
  const int device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name.c_str());
  if (device < 0) Fail(info.Env(), "VFIO_GROUP_GET_DEVICE_FD");
  return Napi::Number::New(info.Env(), device);
}

// The structure as the kernel writes it, into as many bytes as it gets; returns how many it has.
template <typename Structure, unsigned long request>
Napi::Value Describe(const Napi::CallbackInfo& info, int fd, Structure head, const Bytes& into, const char* name) {
  const size_t room = std::min(into.length, size_t{1} << 16);
  if (room < sizeof(Structure)) throw Napi::RangeError::New(info.Env(), "into must have room for the structure");
  memset(into.data, 0, room);
  head.argsz = static_cast<uint32_t>(room);
  memcpy(into.data, &head, sizeof head);
  if (ioctl(fd, request, into.data) != 0) Fail(info.Env(), name);
  memcpy(&head, into.data, sizeof head);
  return Napi::Number::New(info.Env(), head.argsz);
}

Napi::Value DeviceInfo(const Napi::CallbackInfo& info) {
  const int device = Descriptor(info, 0, "device");
  return Describe<vfio_device_info, VFIO_DEVICE_GET_INFO>(info, device, {}, ByteArray(info, 1, "into"), "VFIO_DEVICE_GET_INFO");
}

Napi::Value RegionInfo(const Napi::CallbackInfo& info) {
  const int device = Descriptor(info, 0, "device");
  vfio_region_info head = {};
  head.index = static_cast<uint32_t>(Whole(info, 1, "index", 0, kMostIndex));
  return Describe<vfio_region_info, VFIO_DEVICE_GET_REGION_INFO>(info, device, head, ByteArray(info, 2, "into"), "VFIO_DEVICE_GET_REGION_INFO");
}

Napi::Value IrqInfo(const Napi::CallbackInfo& info) {
  const int device = Descriptor(info, 0, "device");
  vfio_irq_info head = {};
  head.index = static_cast<uint32_t>(Whole(info, 1, "index", 0, kMostIndex));
  return Describe<vfio_irq_info, VFIO_DEVICE_GET_IRQ_INFO>(info, device, head, ByteArray(info, 2, "into"), "VFIO_DEVICE_GET_IRQ_INFO");
}

Napi::Value IommuInfo(const Napi::CallbackInfo& info) {
  const int container = Descriptor(info, 0, "container");
  return Describe<vfio_iommu_type1_info, VFIO_IOMMU_GET_INFO>(info, container, {}, ByteArray(info, 1, "into"), "VFIO_IOMMU_GET_INFO");
}

void SetIrqs(Napi::Env env, int device, uint32_t index, uint32_t flags, const std::vector<int32_t>& descriptors, uint32_t count) {
  std::vector<uint8_t> room(sizeof(vfio_irq_set) + descriptors.size() * sizeof(int32_t));
  vfio_irq_set head = {};
  head.argsz = static_cast<uint32_t>(room.size());
  head.flags = flags;
  head.index = index;
  head.count = count;
  memcpy(room.data(), &head, sizeof head);
  if (!descriptors.empty()) memcpy(room.data() + sizeof head, descriptors.data(), descriptors.size() * sizeof(int32_t));
  if (ioctl(device, VFIO_DEVICE_SET_IRQS, room.data()) != 0) Fail(env, "VFIO_DEVICE_SET_IRQS");
}

Napi::Value SetTriggers(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int device = Descriptor(info, 0, "device");
  const uint32_t index = static_cast<uint32_t>(Whole(info, 1, "index", 0, kMostIndex));
  if (!info[2].IsArray()) throw Napi::TypeError::New(env, "eventfds must be an array");
  const Napi::Array list = info[2].As<Napi::Array>();
  if (list.Length() > kMostVectors) throw Napi::RangeError::New(env, "eventfds must be at most 2048");
  std::vector<int32_t> descriptors;
  for (uint32_t i = 0; i < list.Length(); i++) descriptors.push_back(static_cast<int32_t>(Whole(env, list.Get(i), "eventfds", 0, kMostInt)));
  const uint32_t data = descriptors.empty() ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD;
  SetIrqs(env, device, index, data | VFIO_IRQ_SET_ACTION_TRIGGER, descriptors, static_cast<uint32_t>(descriptors.size()));
  return env.Undefined();
}

Napi::Value UnmaskLine(const Napi::CallbackInfo& info) {
  const int device = Descriptor(info, 0, "device");
  SetIrqs(info.Env(), device, VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, {}, 1);
  return info.Env().Undefined();
}

Napi::Value MapDma(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int container = Descriptor(info, 0, "container");
  if (!info[1].IsArrayBuffer()) throw Napi::TypeError::New(env, "buffer must be an ArrayBuffer");
  const int64_t address = Whole(info, 2, "address", 0, kMostExact);
  void* data = nullptr;
  size_t length = 0;
  Check(env, napi_get_arraybuffer_info(env, info[1], &data, &length));
  const bool pages = length > 0 && length % kPageBytes == 0 && reinterpret_cast<uintptr_t>(data) % kPageBytes == 0 && address % kPageBytes == 0;
  if (!pages) throw Napi::RangeError::New(env, "buffer and address must be whole pages");
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof map;
  map.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  map.vaddr = reinterpret_cast<uintptr_t>(data);
  map.iova = static_cast<uint64_t>(address);
  map.size = length;
  if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map) != 0) Fail(env, "VFIO_IOMMU_MAP_DMA");
  return env.Undefined();
}

Napi::Value UnmapDma(const Napi::CallbackInfo& info) {
  const int container = Descriptor(info, 0, "container");
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof unmap;
  unmap.iova = static_cast<uint64_t>(Whole(info, 1, "address", 0, kMostExact));
  unmap.size = static_cast<uint64_t>(Whole(info, 2, "bytes", 1, kMostExact));
  const uint64_t bytes = unmap.size;
  if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) != 0) Fail(info.Env(), "VFIO_IOMMU_UNMAP_DMA");
  if (unmap.size != bytes) Fail(info.Env(), "VFIO_IOMMU_UNMAP_DMA", ENOENT);
  return info.Env().Undefined();
}

}  // namespace

void RegisterVfio(Napi::Object exports) {
  Export<AttachGroup>(exports, "vfioAttachGroup");
  Export<OpenDevice>(exports, "vfioOpenDevice");
  Export<DeviceInfo>(exports, "vfioDeviceInfo");
  Export<RegionInfo>(exports, "vfioRegionInfo");
  Export<IrqInfo>(exports, "vfioIrqInfo");
  Export<IommuInfo>(exports, "vfioIommuInfo");
  Export<SetTriggers>(exports, "vfioSetTriggers");
  Export<UnmaskLine>(exports, "vfioUnmaskLine");
  Export<MapDma>(exports, "vfioMapDma");
  Export<UnmapDma>(exports, "vfioUnmapDma");
}

}  // namespace device
