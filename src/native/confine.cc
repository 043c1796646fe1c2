// Giving up privileges for good, on every thread of the process.
//
// The kernel keeps capabilities and no-new-privileges for each thread, and has no call that takes them from all: each thread is asked by a signal, as setuid(3)
// does it, and makes the calls itself. A thread that blocks every signal (Node's own, which waits for SIGUSR1) is not reached, and is told of. The filter of system
// calls is one call for all threads (SECCOMP_FILTER_FLAG_TSYNC), that one included.
#include "shm.h"

#include <dirent.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

namespace shm {
namespace {

// The last real-time signal: neither the C library nor Node uses it.
int Signal() { return SIGRTMAX; }

constexpr int kMostCapability = 63;
constexpr int kRoundMicroseconds = 500;
constexpr int kPatientRounds = 4;
constexpr int kMostRounds = 2000;

// What the handler does; set before any signal is sent.
std::atomic<uint64_t> kept{0};
std::atomic<int> failures{0};

// Of the calling thread. Only system calls: it runs in a signal handler.
void DropHere() {
  const uint64_t keep = kept.load();
  // Needs CAP_SETPCAP; without it nothing can be gained by the bounding set either, once no-new-privileges holds.
  for (int capability = 0; capability <= kMostCapability; capability++) {
    if ((keep >> capability & 1) == 0) syscall(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) == 0) {
    for (int i = 0; i < 2; i++) {
      const uint32_t mask = static_cast<uint32_t>(keep >> (32 * i));
      data[i].permitted &= mask;
      data[i].effective &= mask;
      data[i].inheritable = 0;
    }
    if (syscall(SYS_capset, &header, data) != 0) failures++;
  } else {
    failures++;
  }
  if (syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) failures++;
}

void OnSignal(int) {
  const int error = errno;
  DropHere();
  errno = error;
}

// What the kernel says of a thread (proc(5), /proc/PID/status).
struct State {
  bool there = false;
  uint64_t permitted = 0;
  uint64_t blocked = 0;
  bool noNewPrivileges = false;
};

State StateOf(pid_t thread) {
  State state;
  FILE* file = fopen(("/proc/self/task/" + std::to_string(thread) + "/status").c_str(), "re");
  if (file == nullptr) return state;
  char line[256];
  uint64_t value;
  while (fgets(line, sizeof line, file) != nullptr) {
    if (sscanf(line, "CapPrm: %" SCNx64, &value) == 1) state.permitted = value;
    else if (sscanf(line, "SigBlk: %" SCNx64, &value) == 1) state.blocked = value;
    else if (sscanf(line, "NoNewPrivs: %" SCNu64, &value) == 1) state.noNewPrivileges = value != 0;
  }
  state.there = true;
  fclose(file);
  return state;
}

std::vector<pid_t> Threads() {
  std::vector<pid_t> threads;
  DIR* folder = opendir("/proc/self/task");
  if (folder == nullptr) return threads;
  while (const dirent* entry = readdir(folder)) {
    const pid_t thread = atoi(entry->d_name);
    if (thread > 0) threads.push_back(thread);
  }
  closedir(folder);
  return threads;
}

bool IsConfined(const State& state) { return (state.permitted & ~kept.load()) == 0 && state.noNewPrivileges; }

// Drops on all threads, also on those that begin meanwhile: they have what the one had that began them.
void DropEverywhere(uint64_t keep) {
  kept = keep;
  DropHere();
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  sigaction(Signal(), &action, nullptr);
  std::set<pid_t> asked;
  for (int round = 0; round < kMostRounds; round++) {
    int left = 0;
    int blocking = 0;
    for (const pid_t thread : Threads()) {
      const State state = StateOf(thread);
      if (!state.there || IsConfined(state)) continue;
      left++;
      if ((state.blocked >> (Signal() - 1) & 1) != 0) blocking++;
      else if (asked.insert(thread).second) syscall(SYS_tgkill, getpid(), thread, Signal());
    }
    // Every thread blocks signals for a moment when it begins another one.
    if (left == 0 || (left == blocking && round >= kPatientRounds)) return;
    usleep(kRoundMicroseconds);
  }
}

int CountUnconfined() {
  int count = 0;
  for (const pid_t thread : Threads()) {
    const State state = StateOf(thread);
    if (state.there && !IsConfined(state)) count++;
  }
  return count;
}

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArchitecture = 0;
#endif

// New programs.
constexpr int kPrograms[] = {
    SYS_execve,
    SYS_execveat,
#ifdef SYS_fork
    SYS_fork,
    SYS_vfork,
#endif
};

// Other processes' memory and descriptors; mounts and name spaces; the kernel itself; other users.
constexpr int kForbidden[] = {
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_migrate_pages, SYS_move_pages,
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns,
#ifdef SYS_move_mount
    SYS_move_mount, SYS_open_tree, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick,
#endif
#ifdef SYS_mount_setattr
    SYS_mount_setattr,
#endif
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, SYS_syslog,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl, SYS_ioperm,
#endif
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_personality, SYS_open_by_handle_at, SYS_mknodat,
    SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_vhangup,
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_setfsuid, SYS_setfsgid,
};

sock_filter Load(size_t offset) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
sock_filter Answer(uint32_t what) { return BPF_STMT(BPF_RET | BPF_K, what); }
sock_filter Unless(uint32_t value) { return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1); }
constexpr uint32_t kDenied = SECCOMP_RET_ERRNO | EPERM;

// Low half of an argument; all that are looked at are 32 bits wide for the kernel.
constexpr size_t ArgumentAt(int index) { return offsetof(seccomp_data, args) + 8 * static_cast<size_t>(index); }

// What a server goes on needing: of its devices some are models that it starts as programs, or functions of the machine that may come back.
struct Needs {
  bool programs;
  bool functions;
};

std::vector<sock_filter> Filter(const Needs& needs) {
  std::vector<sock_filter> filter = {
      Load(offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      Answer(SECCOMP_RET_KILL_PROCESS),
      Load(offsetof(seccomp_data, nr)),
  };
#if defined(__x86_64__)
  // The other numbers of the same calls (x32).
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
  filter.push_back(Answer(kDenied));
#endif
  const auto deny = [&filter](int call, uint32_t answer) {
    filter.push_back(Unless(static_cast<uint32_t>(call)));
    filter.push_back(Answer(answer));
  };
  for (const int call : kForbidden) deny(call, kDenied);
#ifdef SYS_io_uring_setup
  // What a ring is told to do passes by every filter.
  if (!needs.functions) deny(SYS_io_uring_setup, kDenied);
#endif
  if (!needs.programs) {
    for (const int call : kPrograms) deny(call, kDenied);
#ifdef SYS_clone3
    // Its flags are in memory, where no filter sees them: the C library then uses clone.
    deny(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
#endif
    // Threads, and no processes but the one that stops functions at the end of this one (device/guardian.cc).
    const std::vector<sock_filter> guardian = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLONE_FILES, 0, 1), Answer(SECCOMP_RET_ALLOW)};
    const size_t more = needs.functions ? guardian.size() : 0;
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, static_cast<uint8_t>(4 + more)));
    filter.push_back(Load(ArgumentAt(0)));
    filter.insert(filter.end(), guardian.begin(), guardian.begin() + static_cast<std::ptrdiff_t>(more));
    filter.insert(filter.end(), {
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
        Answer(SECCOMP_RET_ALLOW),
        Answer(kDenied),
    });
  }
  // Sockets of this machine alone; the kernel tells of functions that go and come on a netlink socket.
  const uint32_t second = needs.functions ? AF_NETLINK : AF_UNIX;
  filter.insert(filter.end(), {
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 5),
      Load(ArgumentAt(0)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
      Answer(SECCOMP_RET_ALLOW),
      Answer(kDenied),
      Answer(SECCOMP_RET_ALLOW),
  });
  return filter;
}

bool InstallFilter(const Needs& needs) {
  if (kArchitecture == 0) return false;
  std::vector<sock_filter> filter = Filter(needs);
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  // No code of others runs in this process: nothing is to be slowed down for its sake (SPEC_ALLOW).
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) == 0;
}

Napi::Value Confine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const uint64_t keep = static_cast<uint64_t>(Whole(info, 0, "capabilities", 0, kMostExact));
  const Needs needs = {Flag(info, 1, "programs"), Flag(info, 2, "functions")};
  DropEverywhere(keep);
  if (failures.load() != 0) Fail(env, "capset", EPERM);
  const bool filter = InstallFilter(needs);
  Napi::Object result = Napi::Object::New(env);
  result.Set("unreached", Napi::Number::New(env, CountUnconfined()));
  result.Set("filter", Napi::Boolean::New(env, filter));
  return result;
}

}  // namespace

void RegisterConfine(Napi::Object exports) { Export<Confine>(exports, "confine"); }

}  // namespace shm
