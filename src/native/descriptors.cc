// Descriptors and the process itself.
#include "shm.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace shm {
namespace {

Napi::Value Close(const Napi::CallbackInfo& info) {
  // EINTR included, the descriptor is gone on Linux whatever close says (close(2)); only EBADF tells of a mistake of the caller's.
  if (close(Descriptor(info, 0)) != 0 && errno == EBADF) Fail(info.Env(), "close");
  return info.Env().Undefined();
}

Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  const int fd = fcntl(Descriptor(info, 0), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) Fail(info.Env(), "fcntl");
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value OpenReadOnly(const Napi::CallbackInfo& info) {
  const std::string path = "/proc/self/fd/" + std::to_string(Descriptor(info, 0));
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail(info.Env(), "open");
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value Lock(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  int result;
  do {
    result = flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EWOULDBLOCK) Fail(info.Env(), "flock");
  return Napi::Boolean::New(info.Env(), result == 0);
}

Napi::Value ForbidDump(const Napi::CallbackInfo& info) {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) Fail(info.Env(), "prctl");
  return info.Env().Undefined();
}

Napi::Value Getppid(const Napi::CallbackInfo& info) {
  long parent = 0;
  for (int64_t left = Whole(info, 0, "times", 1, kMostInt); left > 0; left--) parent = syscall(SYS_getppid);
  return Napi::Number::New(info.Env(), static_cast<double>(parent));
}

Napi::Value YieldProcessor(const Napi::CallbackInfo& info) {
  sched_yield();
  return info.Env().Undefined();
}

}  // namespace

void RegisterDescriptors(Napi::Object exports) {
  Export<Close>(exports, "close");
  Export<Duplicate>(exports, "duplicate");
  Export<OpenReadOnly>(exports, "openReadOnly");
  Export<Lock>(exports, "lock");
  Export<ForbidDump>(exports, "forbidDump");
  Export<Getppid>(exports, "getppid");
  Export<YieldProcessor>(exports, "yieldProcessor");
}

}  // namespace shm
