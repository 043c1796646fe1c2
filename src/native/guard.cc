// Mappings of files that their owner may truncate. Touching a page past the end of a file is SIGBUS, which ends the process; in a guarded
// mapping a page of zeroes takes its place instead, and the program goes on and can look what became of the file.
#include "shm.h"

#include <signal.h>
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
struct sigaction previous;

// Bytes of the page at a guarded address; 0 for any other.
uintptr_t GuardedPage(uintptr_t address) {
  for (const Range& range : ranges) {
    const size_t bytes = range.bytes.load(std::memory_order_acquire);
    const uintptr_t start = range.start.load(std::memory_order_relaxed);
    if (bytes != 0 && address >= start && address - start < bytes) return range.page.load(std::memory_order_relaxed);
  }
  return 0;
}

void OnBusError(int signal, siginfo_t* info, void* context) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  const int error = errno;
  const uintptr_t bytes = info->si_code == BUS_ADRERR ? GuardedPage(address) : 0;
  if (bytes != 0) {
    void* const page = reinterpret_cast<void*>(address & ~(bytes - 1));
    // A plain system call: allowed here, whatever the thread was doing.
    const bool replaced = mmap(page, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    errno = error;
    if (replaced) return;
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    // The instruction runs again, and meets what it would have met without us.
    sigaction(signal, &previous, nullptr);
  }
}

void Install(Napi::Env env) {
  static bool installed = false;
  if (installed) return;
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &previous) != 0) Fail(env, "sigaction");
  installed = true;
}

Napi::Value Guard(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  void* address = nullptr;
  const size_t bytes = MappingOf(info, 0, &address);
  const std::lock_guard<std::mutex> lock(writers);
  Install(env);
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
