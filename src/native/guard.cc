// Mappings of files that their owner may truncate. Touching a page past the end of a file is SIGBUS, which ends the process; in a guarded
// mapping a page of zeroes takes its place instead, and the program goes on and can look what became of the file.
#include "bus-errors.h"

#include <sys/mman.h>

#include <atomic>
#include <mutex>

namespace shm {
namespace {

constexpr size_t kMostGuarded = 4096;

// Read by the signal handler, which may not lock: `bytes` is stored last, and 0 while the slot is free.
struct Range {
  std::atomic<uintptr_t> start{0};
  std::atomic<size_t> bytes{0};
  std::atomic<uintptr_t> page{0};  // bytes of a page, which is replaced as a whole: the kernel does not divide a huge one
};
Range ranges[kMostGuarded];
std::mutex writers;

// Bytes of the page at a guarded address; 0 for any other.
uintptr_t GuardedPage(uintptr_t address) {
  for (const Range& range : ranges) {
    const size_t bytes = range.bytes.load(std::memory_order_acquire);
    const uintptr_t start = range.start.load(std::memory_order_relaxed);
    if (bytes != 0 && address >= start && address - start < bytes) return range.page.load(std::memory_order_relaxed);
  }
  return 0;
}

bool Replace(uintptr_t address) {
  const uintptr_t bytes = GuardedPage(address);
  if (bytes == 0) return false;
  void* const page = reinterpret_cast<void*>(address & ~(bytes - 1));
  return mmap(page, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

Napi::Value Guard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  void* address = nullptr;
  const size_t bytes = MappingOf(info, 0, &address);
  const std::lock_guard<std::mutex> lock(writers);
  BusErrors<Replace>::Install(env);
  for (Range& range : ranges) {
    const bool again = range.bytes.load(std::memory_order_relaxed) != 0 && range.start.load(std::memory_order_relaxed) == reinterpret_cast<uintptr_t>(address);
    if (again) return env.Undefined();
  }
  for (Range& range : ranges) {
    if (range.bytes.load(std::memory_order_relaxed) != 0) continue;
    range.start.store(reinterpret_cast<uintptr_t>(address), std::memory_order_relaxed);
    range.page.store(PageOf(address), std::memory_order_relaxed);
    range.bytes.store(bytes, std::memory_order_release);
    return env.Undefined();
  }
  throw Napi::RangeError::New(env, "as many mappings are guarded as there may be");
}

}  // namespace

void Unguard(void* address) {
  const std::lock_guard<std::mutex> lock(writers);
  for (Range& range : ranges) {
    const bool found = range.bytes.load(std::memory_order_relaxed) != 0 && range.start.load(std::memory_order_relaxed) == reinterpret_cast<uintptr_t>(address);
    if (found) range.bytes.store(0, std::memory_order_release);
  }
}

void RegisterGuard(Napi::Object exports) { Export<Guard>(exports, "guard"); }

}  // namespace shm
