// What stops devices when this process is killed.
//
// A device without an IOMMU goes on writing into pages that are somebody else's by then: pins and mappings end with the process, and nothing that the process
// does itself is sure to be done. So a second process waits for its end. It shares memory and descriptors with this one (clone(2), CLONE_VM and CLONE_FILES), so
// that both are there until it has ended as well: it turns bus mastering off where it was told to, and only then do the pins go. It runs on
// a stack of its own, with signals blocked, and calls nothing but the kernel, because what a C library keeps for a thread is not its. It keeps no capability, and
// may make no system call but those that it needs.
#include "device.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

namespace device {
namespace {

using namespace shm;

constexpr size_t kSlots = 256;
constexpr size_t kStackBytes = 65536;
constexpr int64_t kCommand = 4;            // offset of the command register
constexpr uint16_t kStopped = 0x0400;      // no decode, no bus mastering, no INTx (PCI Local Bus 3.0, 6.2.2)
constexpr size_t kSignalSetBytes = 8;      // the kernel's

struct Slot {
  std::atomic<int> fd{-1};  // of configuration space; -1: free
  int64_t offset = 0;       // where that begins in the file
};

Slot slots[kSlots];
std::mutex mutex;
int process = -1;  // a descriptor of this process (pidfd_open(2))
alignas(16) char stack[kStackBytes];

inline long Call(long number, long a, long b = 0, long c = 0, long d = 0, long e = 0) {
#if defined(__x86_64__)
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
  return x0;
#else
#error "how a system call is made on this processor is to be written here"
#endif
}

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

const sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, 4),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 3, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

inline void GiveUpPrivileges() {
  static const char name[] = "ringwarden-stop";
  static __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  static const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  static const sock_fprog program = {sizeof filter / sizeof filter[0], const_cast<sock_filter*>(filter)};
  Call(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>(name));
  Call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
  Call(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(none));
  Call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, reinterpret_cast<long>(&program));
}

__attribute__((no_sanitize("address", "undefined"))) int Wait(void*) {
  GiveUpPrivileges();
  pollfd end = {process, POLLIN, 0};
  while (Call(SYS_ppoll, reinterpret_cast<long>(&end), 1, 0, 0, kSignalSetBytes) == -EINTR) {
  }
  const uint16_t stopped = kStopped;
  for (const Slot& slot : slots) {
    const int fd = slot.fd.load(std::memory_order_acquire);
    if (fd >= 0) Call(SYS_pwrite64, fd, reinterpret_cast<long>(&stopped), sizeof stopped, slot.offset + kCommand);
  }
  Call(SYS_exit_group, 0);
  return 0;
}

void Start(Napi::Env env) {
  if (process >= 0) return;
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (fd < 0) Fail(env, "pidfd_open");
  process = fd;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // the other inherits it
  // No signal at its end: nobody here waits for it.
  const int pid = clone(Wait, stack + kStackBytes, CLONE_VM | CLONE_FILES, nullptr);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid >= 0) return;
  close(fd);
  process = -1;
  Fail(env, "clone", error);
}

Napi::Value WatchEnd(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(mutex);
  Start(info.Env());
  return info.Env().Undefined();
}

Napi::Value StopAtEnd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const int64_t offset = Whole(info, 1, "offset", 0, kMostExact - kCommand);
  const std::lock_guard<std::mutex> lock(mutex);
  Start(env);
  size_t slot = 0;
  while (slot < kSlots && slots[slot].fd.load() >= 0) slot++;
  if (slot == kSlots) throw Napi::RangeError::New(env, "as many devices are to be stopped as there may be");
  slots[slot].offset = offset;
  slots[slot].fd.store(fd, std::memory_order_release);
  return env.Undefined();
}

Napi::Value LeaveAtEnd(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const std::lock_guard<std::mutex> lock(mutex);
  for (Slot& slot : slots) {
    int expected = fd;
    slot.fd.compare_exchange_strong(expected, -1);
  }
  return info.Env().Undefined();
}

}  // namespace

void RegisterGuardian(Napi::Object exports) {
  Export<WatchEnd>(exports, "watchEnd");
  Export<StopAtEnd>(exports, "stopAtEnd");
  Export<LeaveAtEnd>(exports, "leaveAtEnd");
}

}  // namespace device
