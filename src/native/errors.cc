// Failed system calls as JavaScript errors, in the shape of Node's own: message, `code`, `errno` (negative) and `syscall`.
#include "shm.h"

#include <cstring>

namespace shm {

static const char* Name(int error) {
#define NAME(code) \
  case code:       \
    return #code
  switch (error) {
    NAME(EACCES);
    NAME(EAGAIN);
    NAME(EBADF);
    NAME(EBUSY);
    NAME(ECONNREFUSED);
    NAME(ECONNRESET);
    NAME(EEXIST);
    NAME(EFAULT);
    NAME(EFBIG);
    NAME(EINTR);
    NAME(EINVAL);
    NAME(EIO);
    NAME(EISDIR);
    NAME(ELOOP);
    NAME(EMFILE);
    NAME(EMSGSIZE);
    NAME(ENFILE);
    NAME(ENOBUFS);
    NAME(ENODEV);
    NAME(ENOENT);
    NAME(ENOLCK);
    NAME(ENOMEM);
    NAME(ENOPROTOOPT);
    NAME(ENOSPC);
    NAME(ENOSYS);
    NAME(ENOTCONN);
    NAME(ENOTSOCK);
    NAME(ENOTTY);
    NAME(ENXIO);
    NAME(EOPNOTSUPP);
    NAME(EOVERFLOW);
    NAME(EPERM);
    NAME(EPIPE);
    NAME(EPROTO);
    NAME(ESPIPE);
    NAME(ESRCH);
    NAME(ETIMEDOUT);
    NAME(ETOOMANYREFS);
    NAME(ETXTBSY);
    default:
      return "UNKNOWN";
  }
#undef NAME
}

void Fail(Napi::Env env, const char* syscall, int error) {
  const std::string code = Name(error);
  Napi::Error failure = Napi::Error::New(env, code + ": " + std::strerror(error) + ", " + syscall);
  failure.Set("code", Napi::String::New(env, code));
  failure.Set("errno", Napi::Number::New(env, -error));
  failure.Set("syscall", Napi::String::New(env, syscall));
  throw failure;
}

}  // namespace shm
