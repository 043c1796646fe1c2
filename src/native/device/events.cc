// What the kernel tells of devices that come and go (netlink(7), NETLINK_KOBJECT_UEVENT), and interrupts of UIO.
#include "device.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

namespace device {
namespace {

using namespace shm;

constexpr uint32_t kKernelGroup = 1;  // group 2 is udev's

Napi::Value OpenUevents(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  if (fd < 0) Fail(env, "socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    close(fd);
    Fail(env, "bind", error);
  }
  return Napi::Number::New(env, fd);
}

Napi::Value TakeUevent(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const Bytes into = ByteArray(info, 1, "into");
  sockaddr_nl sender = {};
  socklen_t length = sizeof sender;
  ssize_t taken;
  do {
    taken = recvfrom(fd, into.data, into.length, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&sender), &length);
  } while (taken < 0 && errno == EINTR);
  if (taken < 0 && errno == EAGAIN) return Napi::Number::New(env, -1);
  if (taken < 0 && errno == ENOBUFS) return Napi::Number::New(env, 0);  // some were lost
  if (taken < 0) Fail(env, "recvfrom");
  // Only the kernel is believed; programs have a port.
  const bool kernel = length >= sizeof sender && sender.nl_pid == 0;
  return Napi::Number::New(env, kernel ? static_cast<double>(taken) : 0);
}

Napi::Value TakeUio(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int32_t count = 0;
  const ssize_t taken = read(Descriptor(info, 0), &count, sizeof count);
  if (taken < 0 && errno == EAGAIN) return Napi::Boolean::New(env, false);
  if (taken != static_cast<ssize_t>(sizeof count)) Fail(env, "read", taken < 0 ? errno : EIO);
  return Napi::Boolean::New(env, true);
}

}  // namespace

void RegisterEvents(Napi::Object exports) {
  Export<OpenUevents>(exports, "openUevents");
  Export<TakeUevent>(exports, "takeUevent");
  Export<TakeUio>(exports, "takeUio");
}

}  // namespace device
