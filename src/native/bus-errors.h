// SIGBUS, for addons that can mend what caused it: each asks about its own memory first, and passes on what is not its.
#pragma once

#include <errno.h>
#include <signal.h>

#include "shm.h"

namespace shm {

// `Mend` makes the access at an address go on, by system calls and stores alone, whatever the thread was doing. False: the address is none of its.
template <bool (*Mend)(uintptr_t address)>
class BusErrors {
 public:
  static void Install(Napi::Env env) {
    static bool installed = false;
    if (installed) return;
    struct sigaction action = {};
    action.sa_sigaction = OnSignal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous) != 0) Fail(env, "sigaction");
    installed = true;
  }

 private:
  static void OnSignal(int signal, siginfo_t* info, void* context) {
    const int error = errno;
    const bool mended = info->si_code == BUS_ADRERR && Mend(reinterpret_cast<uintptr_t>(info->si_addr));
    errno = error;
    if (mended) return;
    if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
      previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
      previous.sa_handler(signal);
    } else {
      // The instruction runs again, and meets what it would have met without us.
      sigaction(signal, &previous, nullptr);
    }
  }

  static inline struct sigaction previous;
};

}  // namespace shm
