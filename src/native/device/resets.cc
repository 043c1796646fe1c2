// Resets take the kernel from a tenth of a second to a minute: a thread waits for it, so that the engine does not.
#include "device.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>

namespace device {
namespace {

using namespace shm;

constexpr int kUnderWay = -1;
constexpr size_t kMostResets = 256;

struct Reset {
  int result = kUnderWay;  // then 0, or what it failed with
  bool left = false;       // nobody asks any more
};

std::mutex& mutex = *new std::mutex;  // neither is ever destroyed: threads may run until the very end of the process
std::unordered_map<int, Reset>& resets = *new std::unordered_map<int, Reset>;
int next = 1;

void End(int id, int result) {
  const std::lock_guard<std::mutex> lock(mutex);
  Reset& reset = resets[id];
  reset.result = result;
  if (reset.left) resets.erase(id);
}

Napi::Value BeginReset(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int given = Descriptor(info, 0);
  const bool vfio = Flag(info, 1, "vfio");
  const std::lock_guard<std::mutex> lock(mutex);
  if (resets.size() >= kMostResets) throw Napi::RangeError::New(env, "as many resets are under way as there may be");
  // Of its own: whatever becomes of the caller's, this is the device that is reset.
  const int fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) Fail(env, "fcntl");
  const int id = next;
  resets[id] = {};
  try {
    std::thread([fd, vfio, id] {
      const bool done = vfio ? ioctl(fd, VFIO_DEVICE_RESET) == 0 : pwrite(fd, "1", 1, 0) == 1;
      const int error = done ? 0 : errno;
      close(fd);
      End(id, error);
    }).detach();
  } catch (const std::system_error& error) {
    close(fd);
    resets.erase(id);
    Fail(env, "pthread_create", error.code().value());
  }
  next = next == INT_MAX ? 1 : next + 1;
  return Napi::Number::New(env, id);
}

Napi::Value ResetEnded(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int id = static_cast<int>(Whole(info, 0, "id", 1, kMostInt));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = resets.find(id);
  if (found == resets.end()) throw Napi::RangeError::New(env, "no reset is under way under this id");
  const int error = found->second.result;
  if (error == kUnderWay) return Napi::Boolean::New(env, false);
  resets.erase(found);
  if (error != 0) Fail(env, "reset", error);
  return Napi::Boolean::New(env, true);
}

Napi::Value LeaveReset(const Napi::CallbackInfo& info) {
  const int id = static_cast<int>(Whole(info, 0, "id", 1, kMostInt));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = resets.find(id);
  if (found == resets.end()) throw Napi::RangeError::New(info.Env(), "no reset is under way under this id");
  found->second.left = true;
  if (found->second.result != kUnderWay) resets.erase(found);
  return info.Env().Undefined();
}

}  // namespace

void RegisterResets(Napi::Object exports) {
  Export<BeginReset>(exports, "beginReset");
  Export<ResetEnded>(exports, "resetEnded");
  Export<LeaveReset>(exports, "leaveReset");
}

}  // namespace device
