// Pages that stay where they are, and where that is.
//
// A registered buffer of an io_uring pins its pages (FOLL_LONGTERM): neither migration nor compaction moves them, and whatever becomes of the file, they are not
// freed before the ring is closed. The file is mapped for this alone, and nobody touches that mapping: what its page table says after the pin is the page that
// was pinned, or nothing, even while another holder of the file takes pages out of it.
#include "device.h"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace device {
namespace {

using namespace shm;

constexpr size_t kPageBytes = 4096;
constexpr size_t kMostBuffer = size_t{1} << 30;  // of one registered buffer (io_uring_register(2))
constexpr size_t kMostBytes = size_t{1} << 42;   // 4 TiB: more than a buffer of JavaScript has
constexpr size_t kEntries = 512;                 // of the page table, read at a time
constexpr long kHugeFileSystem = 0x958458f6;     // HUGETLBFS_MAGIC
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kFrame = (uint64_t{1} << 55) - 1;

class Mapping {
 public:
  Mapping(int fd, size_t bytes) : bytes_(bytes), address_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) {}
  ~Mapping() {
    if (valid()) munmap(address_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool valid() const { return address_ != MAP_FAILED; }
  uint8_t* data() const { return static_cast<uint8_t*>(address_); }

 private:
  size_t bytes_;
  void* address_;
};

Bytes Words(const Napi::CallbackInfo& info, size_t index, const char* name, size_t length) {
  napi_typedarray_type type;
  size_t count;
  void* data;
  const bool array = info[index].IsTypedArray() && napi_get_typedarray_info(info.Env(), info[index], &type, &count, &data, nullptr, nullptr) == napi_ok &&
                     type == napi_uint32_array;
  if (!array) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a Uint32Array");
  if (count != length) throw Napi::RangeError::New(info.Env(), std::string(name) + " must have one element for each page");
  return {static_cast<uint8_t*>(data), count};
}

// Physical addresses of `pages` pages from `address` on (Documentation/admin-guide/mm/pagemap.rst), as two words each. False with errno set.
bool Translate(int pagemap, const uint8_t* address, size_t pages, uint32_t* low, uint32_t* high) {
  uint64_t entries[kEntries];
  for (size_t done = 0; done < pages;) {
    const size_t count = std::min(kEntries, pages - done);
    const off_t at = static_cast<off_t>((reinterpret_cast<uintptr_t>(address) / kPageBytes + done) * sizeof entries[0]);
    const ssize_t read = pread(pagemap, entries, count * sizeof entries[0], at);
    if (read < 0) return false;
    if (static_cast<size_t>(read) != count * sizeof entries[0]) {
      errno = EIO;
      return false;
    }
    for (size_t i = 0; i < count; i++) {
      const uint64_t frame = entries[i] & kFrame;
      if ((entries[i] & kPresent) == 0) {
        errno = EFAULT;  // somebody took the page out of the file
        return false;
      }
      if (frame == 0) {
        errno = EPERM;  // the kernel hides it from who has no CAP_SYS_ADMIN
        return false;
      }
      low[done + i] = static_cast<uint32_t>(frame << 12);
      high[done + i] = static_cast<uint32_t>(frame >> 20);
    }
    done += count;
  }
  return true;
}

// Mappings of files of huge pages are whole huge pages. Other files may name a block as large, and have small pages.
size_t MappedBytes(int fd, size_t bytes) {
  struct statfs system;
  if (fstatfs(fd, &system) != 0 || system.f_type != kHugeFileSystem) return bytes;
  const size_t page = static_cast<size_t>(system.f_bsize);
  return (bytes + page - 1) / page * page;
}

size_t WholePages(const Napi::CallbackInfo& info, size_t index) {
  const size_t bytes = static_cast<size_t>(Whole(info, index, "bytes", 1, kMostBytes));
  if (bytes % kPageBytes != 0) throw Napi::RangeError::New(info.Env(), "bytes must be a multiple of 4096");
  return bytes;
}

// A signal that some other part of the process is for may come in between.
bool Register(int ring, unsigned operation, const void* argument, size_t count) {
  long result;
  do {
    result = syscall(SYS_io_uring_register, ring, operation, argument, count);
  } while (result < 0 && errno == EINTR);
  return result == 0;
}

Napi::Value PinPages(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const size_t bytes = WholePages(info, 1);
  const int pagemap = Descriptor(info, 2, "pagemap");
  const Bytes low = Words(info, 3, "low", bytes / kPageBytes);
  const Bytes high = Words(info, 4, "high", bytes / kPageBytes);
  struct stat status;
  if (fstat(fd, &status) != 0) Fail(env, "fstat");
  if (status.st_size < 0 || static_cast<uint64_t>(status.st_size) < bytes) throw Napi::RangeError::New(env, "bytes must lie inside the file");

  const Mapping mapping(fd, MappedBytes(fd, bytes));
  if (!mapping.valid()) Fail(env, "mmap");
  madvise(mapping.data(), bytes, MADV_NOHUGEPAGE);  // nothing but the pin puts a page there
  io_uring_params parameters = {};
  const int ring = static_cast<int>(syscall(SYS_io_uring_setup, 1, &parameters));
  if (ring < 0) Fail(env, "io_uring_setup");
  std::vector<iovec> buffers;
  for (size_t at = 0; at < bytes; at += kMostBuffer) buffers.push_back({mapping.data() + at, std::min(kMostBuffer, bytes - at)});
  const bool pinned = Register(ring, IORING_REGISTER_BUFFERS, buffers.data(), buffers.size());
  const bool found = pinned && Translate(pagemap, mapping.data(), bytes / kPageBytes, reinterpret_cast<uint32_t*>(low.data), reinterpret_cast<uint32_t*>(high.data));
  if (!found) {
    const int error = errno;
    close(ring);
    Fail(env, pinned ? "pagemap" : "io_uring_register", error);
  }
  return Napi::Number::New(env, ring);
}

Napi::Value UnpinPages(const Napi::CallbackInfo& info) {
  const int ring = Descriptor(info, 0, "ring");
  // Closing alone would release them as well, but later.
  const bool released = Register(ring, IORING_UNREGISTER_BUFFERS, nullptr, 0);
  const int error = errno;
  if (!released && (error == EBADF || error == EOPNOTSUPP)) Fail(info.Env(), "io_uring_register", error);  // not a ring: it is not ours to close
  close(ring);
  if (!released) Fail(info.Env(), "io_uring_register", error);
  return info.Env().Undefined();
}

Napi::Value LocatePages(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsArrayBuffer()) throw Napi::TypeError::New(env, "buffer must be an ArrayBuffer");
  const int pagemap = Descriptor(info, 1, "pagemap");
  void* address = nullptr;
  size_t length = 0;
  Check(env, napi_get_arraybuffer_info(env, info[0], &address, &length));
  const bool pages = length > 0 && length % kPageBytes == 0 && reinterpret_cast<uintptr_t>(address) % kPageBytes == 0;
  if (!pages) throw Napi::RangeError::New(env, "buffer must be a mapping of whole pages");
  const Bytes low = Words(info, 2, "low", length / kPageBytes);
  const Bytes high = Words(info, 3, "high", length / kPageBytes);
  if (!Translate(pagemap, static_cast<const uint8_t*>(address), length / kPageBytes, reinterpret_cast<uint32_t*>(low.data), reinterpret_cast<uint32_t*>(high.data))) {
    Fail(env, "pagemap");
  }
  return env.Undefined();
}

}  // namespace

void RegisterPages(Napi::Object exports) {
  Export<PinPages>(exports, "pinPages");
  Export<UnpinPages>(exports, "unpinPages");
  Export<LocatePages>(exports, "locatePages");
}

}  // namespace device
