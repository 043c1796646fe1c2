// Telling the service manager how the service is (sd_notify(3)).
#include "shm.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

namespace shm {
namespace {

constexpr size_t kMostPath = 107;  // unix(7), sun_path without its final zero byte
constexpr size_t kMostText = 4096;

Napi::Value Notify(const Napi::CallbackInfo& info) {
  const std::string path = Text(info, 0, "path", kMostPath);
  const std::string text = Text(info, 1, "text", kMostText);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (!path.empty() && path[0] == '@') address.sun_path[0] = '\0';  // an abstract one
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail(info.Env(), "socket");
  const ssize_t sent = sendto(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&address), length);
  const int error = errno;
  close(fd);
  if (sent < 0) Fail(info.Env(), "sendto", error);
  return info.Env().Undefined();
}

}  // namespace

void RegisterNotify(Napi::Object exports) { Export<Notify>(exports, "notify"); }

}  // namespace shm
