// Memory files and their mappings.
//
// A mapping ends in exactly one of two ways: `unmap`, or the finalizer of its ArrayBuffer. A finalizer may run long after `unmap`, when the
// kernel has given the same address to another mapping: so each mapping has a number of its own, and whoever takes the entry (address and
// number) out of the table is the one that unmaps. The table is process-wide, so that it outlives every worker that still has finalizers to run.
#include "shm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <mutex>
#include <unordered_map>

namespace shm {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr size_t kMostNameBytes = 249;  // memfd_create(2)
constexpr int64_t kAllSeals = 0x1f;     // F_SEAL_SEAL to F_SEAL_FUTURE_WRITE
constexpr int64_t kHugeBytes = 2 * 1024 * 1024;
constexpr unsigned kHugeFlag = 21U << 26;  // MFD_HUGE_2MB
constexpr long kHugeFileSystem = 0x958458f6;  // HUGETLBFS_MAGIC

class MappingTable {
 public:
  // The mapping's number; never 0.
  uintptr_t Add(void* address, size_t bytes, size_t page) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const uintptr_t number = next_++;
    entries_[address] = {(bytes + page - 1) / page * page, page, number};
    return number;
  }

  // Takes the entry out: its size, or 0 when there is no such entry. `number` 0 stands for any.
  size_t Take(void* address, uintptr_t number = 0) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto entry = entries_.find(address);
    if (entry == entries_.end() || (number != 0 && entry->second.number != number)) return 0;
    const size_t bytes = entry->second.bytes;
    entries_.erase(entry);
    return bytes;
  }

  bool Has(void* address) {
    const std::lock_guard<std::mutex> guard(mutex_);
    return entries_.count(address) != 0;
  }

  // Bytes of one of its pages.
  size_t PageOf(void* address) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto entry = entries_.find(address);
    return entry == entries_.end() ? kPageBytes : entry->second.page;
  }

 private:
  struct Entry {
    size_t bytes;
    size_t page;
    uintptr_t number;
  };
  std::mutex mutex_;
  std::unordered_map<void*, Entry> entries_;
  uintptr_t next_ = 1;
};

MappingTable& Mappings() {
  static MappingTable& table = *new MappingTable;  // never destroyed: finalizers run until the very end of the process
  return table;
}

void FinalizeMapping(napi_env, void* address, void* number) {
  const size_t bytes = Mappings().Take(address, reinterpret_cast<uintptr_t>(number));
  if (bytes == 0) return;
  Unguard(address);
  munmap(address, bytes);
}

Napi::Value MemfdCreate(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0, "name", kMostNameBytes);
  const int64_t bytes = Whole(info, 1, "bytes", 1, kMostExact);
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) Fail(info.Env(), "memfd_create");
  if (ftruncate(fd, bytes) != 0) {
    const int error = errno;
    close(fd);
    Fail(info.Env(), "ftruncate", error);
  }
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value HugeCreate(const Napi::CallbackInfo& info) {
  const std::string name = Text(info, 0, "name", kMostNameBytes);
  const int64_t bytes = Whole(info, 1, "bytes", 1, kMostExact - kHugeBytes);
  const int64_t whole = (bytes + kHugeBytes - 1) / kHugeBytes * kHugeBytes;
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | kHugeFlag);
  if (fd < 0) Fail(info.Env(), "memfd_create");
  // Pages are taken now: a mapping without them would end the process at the first touch.
  int failed = ftruncate(fd, whole);
  if (failed == 0) {
    do {
      failed = fallocate(fd, 0, 0, whole);
    } while (failed != 0 && errno == EINTR);
  }
  if (failed != 0) {
    const int error = errno;
    close(fd);
    Fail(info.Env(), "fallocate", error);
  }
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value AddSeals(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const int64_t seals = Whole(info, 1, "seals", 0, kAllSeals);
  if (fcntl(fd, F_ADD_SEALS, static_cast<int>(seals)) != 0) Fail(info.Env(), "fcntl");
  return info.Env().Undefined();
}

Napi::Value GetSeals(const Napi::CallbackInfo& info) {
  const int seals = fcntl(Descriptor(info, 0), F_GET_SEALS);
  if (seals < 0) Fail(info.Env(), "fcntl");
  return Napi::Number::New(info.Env(), seals);
}

// Touching a page past the end of a file is SIGBUS, so a mapping must lie inside its file.
void CheckInsideFile(Napi::Env env, int fd, int64_t offset, int64_t bytes) {
  struct stat status;
  if (fstat(fd, &status) != 0) Fail(env, "fstat");
  if (!S_ISREG(status.st_mode)) return;
  const bool inside = bytes <= status.st_size && offset <= status.st_size - bytes;
  if (!inside) throw Napi::RangeError::New(env, "offset and bytes must lie inside the file");
}

// Bytes of a page of the file: what mmap maps, and munmap must be told, is whole pages, and of a file of huge pages whole huge ones.
size_t PageBytes(int fd) {
  struct statfs system;
  return fstatfs(fd, &system) == 0 && system.f_type == kHugeFileSystem ? static_cast<size_t>(system.f_bsize) : static_cast<size_t>(kPageBytes);
}

Napi::Value Map(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const int64_t offset = Whole(info, 1, "offset", 0, kMostExact);
  if (offset % kPageBytes != 0) throw Napi::RangeError::New(env, "offset must be a multiple of 4096");
  const int64_t bytes = Whole(info, 2, "bytes", 1, kMostExact);
  const bool writable = Flag(info, 3, "writable");
  CheckInsideFile(env, fd, offset, bytes);

  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const address = mmap(nullptr, static_cast<size_t>(bytes), protection, MAP_SHARED, fd, offset);
  if (address == MAP_FAILED) Fail(env, "mmap");
  const uintptr_t number = Mappings().Add(address, static_cast<size_t>(bytes), PageBytes(fd));
  napi_value buffer;
  const napi_status status =
      napi_create_external_arraybuffer(env, address, static_cast<size_t>(bytes), FinalizeMapping, reinterpret_cast<void*>(number), &buffer);
  if (status != napi_ok) {
    FinalizeMapping(env, address, reinterpret_cast<void*>(number));
    throw Napi::Error::New(env);
  }
  return Napi::Value(env, buffer);
}

Napi::Value Unmap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  void* address = nullptr;
  MappingOf(info, 0, &address);
  // Taken out first: detaching drops the backing store, and its finalizer must find nothing left to do.
  const size_t bytes = Mappings().Take(address);
  const napi_status status = napi_detach_arraybuffer(env, info[0]);
  if (status != napi_ok) {
    // Views could still reach the memory: it stays mapped, for good.
    throw Napi::Error::New(env);
  }
  Unguard(address);
  if (munmap(address, bytes) != 0) Fail(env, "munmap");
  return env.Undefined();
}

}  // namespace

size_t MappingOf(const Napi::CallbackInfo& info, size_t index, void** address) {
  const Napi::Env env = info.Env();
  if (!info[index].IsArrayBuffer()) throw Napi::TypeError::New(env, "buffer must be an ArrayBuffer");
  size_t length = 0;
  Check(env, napi_get_arraybuffer_info(env, info[index], address, &length));
  if (length == 0 || !Mappings().Has(*address)) throw Napi::TypeError::New(env, "buffer must be a mapping that is still there");
  return length;
}

size_t PageOf(void* address) { return Mappings().PageOf(address); }

void RegisterMemory(Napi::Object exports) {
  Export<MemfdCreate>(exports, "memfdCreate");
  Export<HugeCreate>(exports, "hugeCreate");
  Export<AddSeals>(exports, "addSeals");
  Export<GetSeals>(exports, "getSeals");
  Export<Map>(exports, "map");
  Export<Unmap>(exports, "unmap");
}

}  // namespace shm
