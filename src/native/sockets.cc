// Unix sockets: bytes, descriptors (unix(7), SCM_RIGHTS) and who the peer is.
#include "shm.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace shm {
namespace {

constexpr size_t kMostDescriptors = 16;  // that one message may carry here
constexpr size_t kKernelMost = 253;      // that the kernel lets one message carry (SCM_MAX_FD)

// EINTR is "not now" like EAGAIN: no call here may wait, so none is repeated.
bool NotNow(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

Napi::Value Socketpair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) Fail(env, "socketpair");
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(0u, Napi::Number::New(env, ends[0]));
  pair.Set(1u, Napi::Number::New(env, ends[1]));
  return pair;
}

Napi::Value Connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sockaddr_un address = {};
  const std::string path = Text(info, 0, "path", sizeof address.sun_path - 1);
  if (path.empty()) throw Napi::RangeError::New(env, "path must not be empty");
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) Fail(env, "socket");
  // A Unix stream connects at once or not at all: EAGAIN where too many wait to be accepted (connect(2)).
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    close(fd);
    Fail(env, "connect", error);
  }
  return Napi::Number::New(env, fd);
}

// The part [at, at + length) of a Uint8Array, both given by the arguments behind it.
Bytes Part(const Napi::CallbackInfo& info, size_t index, const char* name) {
  const int64_t at = Whole(info, index + 1, "at", 0, kMostExact);
  const int64_t length = Whole(info, index + 2, "length", 1, kMostExact);
  const Bytes all = ByteArray(info, index, name);
  const int64_t size = static_cast<int64_t>(all.length);
  const bool inside = length <= size && at <= size - length;
  if (!inside) throw Napi::RangeError::New(info.Env(), std::string("at and length must lie inside ") + name);
  return {all.data + at, static_cast<size_t>(length)};
}

Napi::Value Moved(Napi::Env env, const char* syscall, ssize_t bytes) {
  if (bytes < 0 && !NotNow(errno)) Fail(env, syscall);
  return Napi::Number::New(env, bytes < 0 ? -1 : static_cast<double>(bytes));
}

// Space for one control message with `count` descriptors, aligned for its header.
template <size_t count>
union Control {
  cmsghdr header;
  char space[CMSG_SPACE(count * sizeof(int))];
};

// Descriptors that came over `fd`. What is not handed on is closed elsewhere, also when something throws.
class Received {
 public:
  explicit Received(int fd) : fd_(fd) {}
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;
  ~Received() { Close(0); }

  // Without waiting: what recvmsg(2) returned. There is room for all that a message can carry: what the kernel itself had to drop, it would close right here.
  ssize_t Take(Bytes into) {
    Control<kKernelMost> control;
    iovec part = {into.data, into.length};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    const ssize_t bytes = recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes < 0) return bytes;
    cut_ = (message.msg_flags & MSG_CTRUNC) != 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = std::min((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), kKernelMost - count_);
      std::memcpy(descriptors_ + count_, CMSG_DATA(header), count * sizeof(int));
      count_ += count;
    }
    return bytes;
  }
  size_t count() const { return count_; }
  bool cut() const { return cut_; }
  Napi::Array List(Napi::Env env, size_t most) const {
    const size_t count = std::min(count_, most);
    Napi::Array list = Napi::Array::New(env, count);
    for (size_t i = 0; i < count; i++) list.Set(static_cast<uint32_t>(i), Napi::Number::New(env, descriptors_[i]));
    return list;
  }
  // The first `kept` belong to JavaScript from now on.
  void Close(size_t kept) {
    if (count_ > kept) CloseElsewhere(descriptors_ + kept, count_ - kept, PeerOf(fd_));
    count_ = 0;
  }

 private:
  const int fd_;
  int descriptors_[kKernelMost];
  size_t count_ = 0;
  bool cut_ = false;
};

Napi::Value Receive(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const Bytes into = Part(info, 1, "into");
  Received received(fd);
  return Moved(info.Env(), "recvmsg", received.Take(into));
}

Napi::Value Peek(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const Bytes into = Part(info, 1, "into");
  return Moved(info.Env(), "recv", recv(fd, into.data, into.length, MSG_DONTWAIT | MSG_PEEK));
}

Napi::Value Send(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const Bytes from = Part(info, 1, "from");
  return Moved(info.Env(), "send", send(fd, from.data, from.length, MSG_DONTWAIT | MSG_NOSIGNAL));
}

Napi::Value SendDescriptors(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  if (!info[2].IsArray()) throw Napi::TypeError::New(env, "descriptors must be an array");
  const Napi::Array list = info[2].As<Napi::Array>();
  const uint32_t count = list.Length();
  if (count < 1 || count > kMostDescriptors) throw Napi::RangeError::New(env, "descriptors must hold 1 to 16 descriptors");
  int descriptors[kMostDescriptors];
  for (uint32_t i = 0; i < count; i++) {
    descriptors[i] = static_cast<int>(Whole(env, list.Get(i), "descriptor", 0, kMostInt));
  }
  // After the list: reading an element may run JavaScript.
  const Bytes from = ByteArray(info, 1, "from");
  if (from.length == 0) throw Napi::RangeError::New(env, "from must not be empty");

  Control<kMostDescriptors> control = {};
  iovec part = {from.data, from.length};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.space;
  message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(count * sizeof(int));
  std::memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  return Moved(env, "sendmsg", sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

Napi::Value ReceiveDescriptors(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const size_t most = static_cast<size_t>(Whole(info, 2, "most", 0, kMostDescriptors));
  const Bytes into = ByteArray(info, 1, "into");
  if (into.length == 0) throw Napi::RangeError::New(env, "into must not be empty");

  Received received(fd);
  const Napi::Value moved = Moved(env, "recvmsg", received.Take(into));
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytes", moved);
  result.Set("descriptors", received.List(env, most));
  result.Set("truncated", Napi::Boolean::New(env, received.count() > most || received.cut()));
  received.Close(most);
  return result;
}

// SO_PASSRIGHTS, which Linux has since 6.16 and older headers do not name (asm-generic/socket.h).
constexpr int kPassRights = 83;

Napi::Value RefuseDescriptors(const Napi::CallbackInfo& info) {
  const int no = 0;
  const bool done = setsockopt(Descriptor(info, 0), SOL_SOCKET, kPassRights, &no, sizeof no) == 0;
  if (!done && errno != ENOPROTOOPT && errno != EOPNOTSUPP) Fail(info.Env(), "setsockopt");
  return Napi::Boolean::New(info.Env(), done);
}

Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  ucred peer = {};
  socklen_t length = sizeof peer;
  if (getsockopt(Descriptor(info, 0), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) Fail(env, "getsockopt");
  // Sockets that are not of the Unix domain, or not connected, answer with ids that nobody can have.
  if (peer.uid == static_cast<uid_t>(-1)) Fail(env, "getsockopt", ENOTCONN);
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", Napi::Number::New(env, peer.pid));
  result.Set("uid", Napi::Number::New(env, peer.uid));
  result.Set("gid", Napi::Number::New(env, peer.gid));
  return result;
}

}  // namespace

void RegisterSockets(Napi::Object exports) {
  Export<Socketpair>(exports, "socketpair");
  Export<Connect>(exports, "connect");
  Export<Receive>(exports, "receive");
  Export<Peek>(exports, "peek");
  Export<Send>(exports, "send");
  Export<SendDescriptors>(exports, "sendDescriptors");
  Export<ReceiveDescriptors>(exports, "receiveDescriptors");
  Export<RefuseDescriptors>(exports, "refuseDescriptors");
  Export<PeerCredentials>(exports, "peerCredentials");
}

}  // namespace shm
