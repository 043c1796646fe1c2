// What stops devices when this process is killed.
//
// A device without an IOMMU goes on writing into pages that are somebody else's by then: pins end with the process, and nothing that the process does itself is
// sure to be done. So a second process waits for its end. It shares the table of descriptors with this one (clone(2), CLONE_FILES), so that they, and with them
// the pins, are there until it has ended as well: it turns bus mastering off where it was told to, and only then do the pins go.
//
// What kills this process is not to kill that one: it has memory and a session of its own, so that neither who runs out of memory nor a signal to the process group
// takes both. It lets go of all memory but its own code and data, and of every capability, and may make no system call but those that it needs. So it calls nothing
// but the kernel. A thread of this process waits for its end, tells of it, and starts another.
#include "device.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <link.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <system_error>
#include <thread>

namespace device {
namespace {

using namespace shm;

constexpr size_t kSlots = 256;
constexpr size_t kStackBytes = 65536;
constexpr uintptr_t kPageBytes = 4096;
constexpr int kRetrySeconds = 1;
constexpr int kWaitMicroseconds = 100;
constexpr int kMostWaits = 10'000;
constexpr int64_t kCommand = 4;            // offset of the command register
constexpr uint16_t kStopped = 0x0400;      // no decode, no bus mastering, no INTx (PCI Local Bus 3.0, 6.2.2)
constexpr size_t kSignalSetBytes = 8;      // the kernel's

struct Slot {
  int fd = -1;              // of configuration space; -1: free
  int64_t offset = 0;       // where that begins in the file
};

// What both processes write and read, by the compiler's own atomic operations: the other process has no code but that below, and a library's may be instrumented.
struct Shared {
  bool ready = false;  // nothing that ends this process alone ends the other any more
  Slot slots[kSlots];
};

constexpr size_t kSharedBytes = (sizeof(Shared) + kPageBytes - 1) & ~(kPageBytes - 1);

// Code of the other process: it has no C library, and no thread of one.
#define ALONE __attribute__((always_inline, no_sanitize("address", "undefined"))) inline

struct Range {
  uintptr_t start;
  uintptr_t end;
};

std::mutex mutex;
// The other process has a copy of what follows, and its own stack.
Shared* shared = nullptr;
pollfd process = {-1, POLLIN, 0};  // this process (pidfd_open(2)), readable at its end
Range kept[2] = {};      // what stays mapped there, in order: what is shared, and this library
uintptr_t rseq = 0;      // where the kernel writes for the thread that starts it (restartable sequences, which the C library registers); 0: nowhere
const uint16_t stopped = kStopped;
alignas(16) char stack[kStackBytes];

ALONE long Call(long number, long a, long b = 0, long c = 0, long d = 0, long e = 0) {
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
constexpr long kRseqSignature = 0x53053053;  // what the C library gives (rseq.h)
#else
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr long kRseqSignature = 0xd428bc00;
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

// Ends of the address space of a process, the widest first; the kernel refuses those that it does not have.
constexpr uintptr_t kAddressEnds[] = {uintptr_t{1} << 48, (uintptr_t{1} << 47) - kPageBytes, uintptr_t{1} << 42, uintptr_t{1} << 39};

// What the C library may have registered: whole multiples of 32 bytes.
constexpr long kRseqBytes[] = {32, 64, 96, 128};
constexpr long kRseqUnregister = 1;

ALONE bool LeaveRseq() {
  if (rseq == 0) return true;
  for (const long bytes : kRseqBytes) {
    if (Call(SYS_rseq, static_cast<long>(rseq), bytes, kRseqUnregister, kRseqSignature) == 0) return true;
  }
  return false;
}

// Where the kernel goes on writing for a thread that is not there, everything stays.
ALONE void GiveUpMemory() {
  if (!LeaveRseq()) return;
  uintptr_t from = kPageBytes;
  for (const Range& range : kept) {
    Call(SYS_munmap, static_cast<long>(from), static_cast<long>(range.start - from));
    from = range.end;
  }
  for (const uintptr_t end : kAddressEnds) {
    if (end > from && Call(SYS_munmap, static_cast<long>(from), static_cast<long>(end - from)) == 0) break;
  }
}

ALONE void GiveUpPrivileges() {
  static const char name[] = "ringwarden-stop";
  static const char adjustment[] = "/proc/self/oom_score_adj";
  static const char never[] = "-1000";
  static __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  static const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  static const sock_fprog program = {sizeof filter / sizeof filter[0], const_cast<sock_filter*>(filter)};
  const long fd = Call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(adjustment), O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    Call(SYS_write, fd, reinterpret_cast<long>(never), sizeof never - 1);  // where CAP_SYS_RESOURCE permits it
    Call(SYS_close, fd);
  }
  Call(SYS_prctl, PR_SET_NAME, reinterpret_cast<long>(name));
  Call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
  Call(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(none));
  Call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, reinterpret_cast<long>(&program));
}

__attribute__((no_sanitize("address", "undefined"), no_stack_protector)) int Wait(void*) {
  Call(SYS_setsid, 0);
  GiveUpMemory();
  GiveUpPrivileges();
  __atomic_store_n(&shared->ready, true, __ATOMIC_RELEASE);
  while (Call(SYS_ppoll, reinterpret_cast<long>(&process), 1, 0, 0, kSignalSetBytes) == -EINTR) {
  }
  for (const Slot& slot : shared->slots) {
    const int fd = __atomic_load_n(&slot.fd, __ATOMIC_ACQUIRE);
    if (fd >= 0) Call(SYS_pwrite64, fd, reinterpret_cast<long>(&stopped), sizeof stopped, slot.offset + kCommand);
  }
  Call(SYS_exit_group, 0);
  return 0;
}

// Where this library lies: the object that has `shared`.
int FindImage(dl_phdr_info* object, size_t, void* into) {
  Range image = {UINTPTR_MAX, 0};
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const auto& part = object->dlpi_phdr[i];
    if (part.p_type != PT_LOAD) continue;
    image.start = std::min(image.start, static_cast<uintptr_t>(object->dlpi_addr + part.p_vaddr) & ~(kPageBytes - 1));
    image.end = std::max(image.end, (static_cast<uintptr_t>(object->dlpi_addr + part.p_vaddr + part.p_memsz) + kPageBytes - 1) & ~(kPageBytes - 1));
  }
  const uintptr_t here = reinterpret_cast<uintptr_t>(&shared);
  if (here < image.start || here >= image.end) return 0;
  *static_cast<Range*>(into) = image;
  return 1;
}

uintptr_t ThreadPointer() {
#if defined(__x86_64__)
  uintptr_t pointer;
  asm("mov %%fs:0, %0" : "=r"(pointer));
  return pointer;
#else
  return reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
#endif
}

// Its process id, or -1 with errno set.
int StartGuardian() {
  // Of glibc since 2.35; what has no such symbol registers nothing.
  const auto* const offset = static_cast<const ptrdiff_t*>(dlsym(RTLD_DEFAULT, "__rseq_offset"));
  const auto* const size = static_cast<const unsigned*>(dlsym(RTLD_DEFAULT, "__rseq_size"));
  rseq = offset == nullptr || size == nullptr || *size == 0 ? 0 : ThreadPointer() + static_cast<uintptr_t>(*offset);
  __atomic_store_n(&shared->ready, false, __ATOMIC_RELAXED);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // the other inherits it
  // No signal at its end: a thread waits for it.
  const int pid = clone(Wait, stack + kStackBytes, CLONE_FILES, nullptr);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (int waited = 0; pid >= 0 && !__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) && waited < kMostWaits; waited++) usleep(kWaitMicroseconds);
  errno = error;
  return pid;
}

// Only the end of this process is to end it.
void Keep(int pid) {
  for (;;) {
    const time_t began = time(nullptr);
    siginfo_t end = {};
    while (waitid(P_PID, static_cast<id_t>(pid), &end, WEXITED | __WALL) != 0 && errno == EINTR) {
    }
    dprintf(STDERR_FILENO, "ringwarden: the process %d, which stops devices when this one is killed, has ended (%d): another one is started\n", pid, end.si_status);
    if (time(nullptr) - began <= kRetrySeconds) sleep(kRetrySeconds);
    while ((pid = StartGuardian()) < 0) {
      dprintf(STDERR_FILENO, "ringwarden: the process that stops devices when this one is killed cannot be started: error %d\n", errno);
      sleep(kRetrySeconds);
    }
  }
}

void Start(Napi::Env env) {
  if (process.fd >= 0) return;
  if (shared == nullptr) {
    void* const memory = mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) Fail(env, "mmap");
    shared = new (memory) Shared;
    kept[0] = {reinterpret_cast<uintptr_t>(memory), reinterpret_cast<uintptr_t>(memory) + kSharedBytes};
    dl_iterate_phdr(FindImage, &kept[1]);
    if (kept[1].start < kept[0].start) std::swap(kept[0], kept[1]);
  }
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (fd < 0) Fail(env, "pidfd_open");
  process.fd = fd;
  const int pid = StartGuardian();
  int error = errno;
  if (pid >= 0) {
    try {
      std::thread(Keep, pid).detach();
      return;
    } catch (const std::system_error& reason) {
      error = reason.code().value();
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, __WALL);
    }
  }
  close(fd);
  process.fd = -1;
  Fail(env, pid < 0 ? "clone" : "pthread_create", error);
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
  size_t free = 0;
  while (free < kSlots && __atomic_load_n(&shared->slots[free].fd, __ATOMIC_RELAXED) >= 0) free++;
  if (free == kSlots) throw Napi::RangeError::New(env, "as many devices are to be stopped as there may be");
  shared->slots[free].offset = offset;
  __atomic_store_n(&shared->slots[free].fd, fd, __ATOMIC_RELEASE);
  return env.Undefined();
}

Napi::Value LeaveAtEnd(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const std::lock_guard<std::mutex> lock(mutex);
  if (shared == nullptr) return info.Env().Undefined();
  for (Slot& slot : shared->slots) {
    int expected = fd;
    __atomic_compare_exchange_n(&slot.fd, &expected, -1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
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
