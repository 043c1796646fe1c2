// eventfd(2) and epoll(7).
#include "shm.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace shm {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1000000;
constexpr size_t kMostEvents = 64;  // of one epollWait; what is left comes with the next

Napi::Value Eventfd(const Napi::CallbackInfo& info) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) Fail(info.Env(), "eventfd");
  return Napi::Number::New(info.Env(), fd);
}

Napi::Value EventfdSignal(const Napi::CallbackInfo& info) {
  const uint64_t one = 1;
  const ssize_t written = write(Descriptor(info, 0), &one, sizeof one);
  if (written < 0 && errno != EAGAIN) Fail(info.Env(), "write");
  return Napi::Boolean::New(info.Env(), written == static_cast<ssize_t>(sizeof one));
}

Napi::Value EventfdTake(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  uint64_t count = 0;
  const iovec part = {&count, sizeof count};
  // RWF_NOWAIT: does not block even where somebody cleared O_NONBLOCK on the shared description.
  ssize_t taken = preadv2(fd, &part, 1, -1, RWF_NOWAIT);
  if (taken < 0 && errno == EOPNOTSUPP) taken = read(fd, &count, sizeof count);
  if (taken < 0 && errno != EAGAIN) Fail(info.Env(), "read");
  return Napi::Number::New(info.Env(), taken == static_cast<ssize_t>(sizeof count) ? static_cast<double>(count) : 0);
}

Napi::Value EpollCreate(const Napi::CallbackInfo& info) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) Fail(info.Env(), "epoll_create1");
  return Napi::Number::New(info.Env(), fd);
}

int Operation(const Napi::CallbackInfo& info, size_t index) {
  const std::string name = Text(info, index, "operation", 8);
  if (name == "add") return EPOLL_CTL_ADD;
  if (name == "modify") return EPOLL_CTL_MOD;
  if (name == "delete") return EPOLL_CTL_DEL;
  throw Napi::RangeError::New(info.Env(), "operation must be 'add', 'modify' or 'delete'");
}

Napi::Value EpollControl(const Napi::CallbackInfo& info) {
  const int epoll = Descriptor(info, 0, "epoll");
  const int operation = Operation(info, 1);
  const int fd = Descriptor(info, 2);
  epoll_event event = {};
  event.events = static_cast<uint32_t>(Whole(info, 3, "events", INT_MIN, UINT32_MAX));  // EPOLLET may come as a negative number
  event.data.u64 = static_cast<uint64_t>(Whole(info, 4, "data", 0, kMostInt));
  if (epoll_ctl(epoll, operation, fd, &event) != 0) Fail(info.Env(), "epoll_ctl");
  return info.Env().Undefined();
}

// epoll_pwait2(2) by number, as older C libraries do not have it; on kernels before 5.11 the timeout is rounded up to milliseconds.
int Wait(int epoll, epoll_event* events, int most, int64_t microseconds) {
#ifdef SYS_epoll_pwait2
  static std::atomic<bool> available{true};
  if (available.load(std::memory_order_relaxed)) {
    struct {
      int64_t seconds;
      int64_t nanoseconds;
    } const timeout = {microseconds / kMicrosecondsPerSecond, microseconds % kMicrosecondsPerSecond * 1000};
    const long count = syscall(SYS_epoll_pwait2, epoll, events, most, microseconds < 0 ? nullptr : &timeout, nullptr, size_t{0});
    // Seccomp filters older than the call answer EPERM, which epoll itself never does here.
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(count);
    available.store(false, std::memory_order_relaxed);
  }
#endif
  const int64_t milliseconds = microseconds < 0 ? -1 : std::min(microseconds / 1000 + (microseconds % 1000 != 0), kMostInt);
  return epoll_wait(epoll, events, most, static_cast<int>(milliseconds));
}

Napi::Value EpollWait(const Napi::CallbackInfo& info) {
  const int epoll = Descriptor(info, 0, "epoll");
  const Bytes out = IntArray(info, 1, "out");
  const int64_t microseconds = Whole(info, 2, "microseconds", -1, kMostExact);
  const size_t room = std::min(out.length / 2, kMostEvents);
  if (room == 0) throw Napi::RangeError::New(info.Env(), "out must have room for a pair");

  epoll_event events[kMostEvents];
  const int count = Wait(epoll, events, static_cast<int>(room), microseconds);
  if (count < 0 && errno != EINTR) Fail(info.Env(), "epoll_wait");
  int32_t* const pairs = reinterpret_cast<int32_t*>(out.data);
  for (int i = 0; i < count; i++) {
    pairs[2 * i] = static_cast<int32_t>(events[i].data.u64);
    pairs[2 * i + 1] = static_cast<int32_t>(events[i].events);
  }
  return Napi::Number::New(info.Env(), std::max(count, 0));
}

}  // namespace

void RegisterEvents(Napi::Object exports) {
  Export<Eventfd>(exports, "eventfd");
  Export<EventfdSignal>(exports, "eventfdSignal");
  Export<EventfdTake>(exports, "eventfdTake");
  Export<EpollCreate>(exports, "epollCreate");
  Export<EpollControl>(exports, "epollControl");
  Export<EpollWait>(exports, "epollWait");
}

}  // namespace shm
