// Another program in the place of this one.
#include "shm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace shm {
namespace {

constexpr int kHandle = 3;            // the first descriptor behind the standard ones
constexpr size_t kMostText = 131072;  // bytes of one argument or variable (execve(2), MAX_ARG_STRLEN)
constexpr uint32_t kMostTexts = 65536;

// Strings as execve wants them: pointers into `texts`, and a null pointer behind the last.
struct Texts {
  std::vector<std::string> texts;
  std::vector<char*> pointers;
};

Texts TextList(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const Napi::Env env = info.Env();
  if (!info[index].IsArray()) throw Napi::TypeError::New(env, std::string(name) + " must be an array");
  const Napi::Array list = info[index].As<Napi::Array>();
  const uint32_t length = list.Length();
  if (length > kMostTexts) throw Napi::RangeError::New(env, std::string(name) + " has too many elements");
  Texts result;
  for (uint32_t i = 0; i < length; i++) {
    const Napi::Value element = list.Get(i);
    if (!element.IsString()) throw Napi::TypeError::New(env, std::string(name) + " must hold strings");
    std::string text = element.As<Napi::String>().Utf8Value();
    if (text.size() >= kMostText || text.find('\0') != std::string::npos) {
      throw Napi::RangeError::New(env, std::string(name) + " holds a string that is too long, or has a zero byte");
    }
    result.texts.push_back(std::move(text));
  }
  for (std::string& text : result.texts) result.pointers.push_back(text.data());
  result.pointers.push_back(nullptr);
  return result;
}

// Whatever is open above the standard descriptors ends with this program.
void CloseAllOnExec() {
#ifdef SYS_close_range
  constexpr unsigned kCloseRangeCloexec = 4;
  if (syscall(SYS_close_range, 3u, ~0u, kCloseRangeCloexec) == 0) return;
#endif
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = 65536;
  for (rlim_t fd = 3; fd < limit.rlim_cur; fd++) fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC);
}

// As a program expects to find it: Node makes what it starts with close-on-exec, and sockets non-blocking.
void PassOn(int fd) {
  fcntl(fd, F_SETFD, 0);
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

// What Node changed for itself and execve would keep.
class Dispositions {
 public:
  Dispositions() {
    struct sigaction usual = {};
    usual.sa_handler = SIG_DFL;
    for (size_t i = 0; i < kCount; i++) sigaction(kIgnored[i], &usual, &before_[i]);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, &mask_);
  }
  ~Dispositions() {
    pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
    for (size_t i = 0; i < kCount; i++) sigaction(kIgnored[i], &before_[i], nullptr);
  }
  Dispositions(const Dispositions&) = delete;
  Dispositions& operator=(const Dispositions&) = delete;

 private:
  static constexpr int kIgnored[] = {SIGPIPE, SIGXFSZ};
  static constexpr size_t kCount = 2;
  struct sigaction before_[kCount];
  sigset_t mask_;
};

Napi::Value Execute(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string file = Text(info, 0, "file", kMostText - 1);
  Texts arguments = TextList(info, 1, "args");
  Texts environment = TextList(info, 2, "environment");
  const int fd = Descriptor(info, 3);
  if (fcntl(fd, F_GETFD) < 0) Fail(env, "fcntl");
  CloseAllOnExec();
  // Node may have something of its own at that number, and goes on with it if there is no such program.
  const int kept = fd == kHandle ? -1 : fcntl(kHandle, F_DUPFD_CLOEXEC, kHandle + 1);
  if (fd != kHandle && kept < 0 && errno != EBADF) Fail(env, "fcntl");
  if (dup2(fd, kHandle) < 0) Fail(env, "dup2");
  for (const int each : {0, 1, 2, kHandle}) PassOn(each);
  int error;
  {
    const Dispositions usual;
    execvpe(file.c_str(), arguments.pointers.data(), environment.pointers.data());
    error = errno;
  }
  if (fd == kHandle) fcntl(fd, F_SETFD, FD_CLOEXEC);
  else if (kept >= 0) dup3(kept, kHandle, O_CLOEXEC);
  else close(kHandle);
  if (kept >= 0) close(kept);
  Fail(env, "execve", error);
}

}  // namespace

void RegisterExecute(Napi::Object exports) { Export<Execute>(exports, "execute"); }

}  // namespace shm
