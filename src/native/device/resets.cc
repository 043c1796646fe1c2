// Resets take the kernel from a tenth of a second to a minute: a thread waits for it, so that the engine does not.
#include "device.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>

namespace device {
namespace {

using namespace shm;

constexpr int kUnderWay = -1;
constexpr size_t kMostResets = 256;

std::mutex mutex;
// Never destroyed: threads may run until the very end of the process.
std::unordered_map<int, std::shared_ptr<std::atomic<int>>>& resets = *new std::unordered_map<int, std::shared_ptr<std::atomic<int>>>;
int next = 1;

Napi::Value BeginReset(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int given = Descriptor(info, 0);
  const bool vfio = Flag(info, 1, "vfio");
  const std::lock_guard<std::mutex> lock(mutex);
  if (resets.size() >= kMostResets) throw Napi::RangeError::New(env, "as many resets are under way as there may be");
  // Of its own: whatever becomes of the caller's, this is the device that is reset.
  const int fd = fcntl(given, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) Fail(env, "fcntl");
  const auto result = std::make_shared<std::atomic<int>>(kUnderWay);
  try {
    std::thread([fd, vfio, result] {
      const bool done = vfio ? ioctl(fd, VFIO_DEVICE_RESET) == 0 : pwrite(fd, "1", 1, 0) == 1;
      const int error = done ? 0 : errno;
      close(fd);
      result->store(error);
    }).detach();
  } catch (const std::system_error& error) {
    close(fd);
    Fail(env, "pthread_create", error.code().value());
  }
  const int id = next;
  next = next == INT_MAX ? 1 : next + 1;
  resets[id] = result;
  return Napi::Number::New(env, id);
}

Napi::Value ResetEnded(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int id = static_cast<int>(Whole(info, 0, "id", 1, kMostInt));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = resets.find(id);
  if (found == resets.end()) throw Napi::RangeError::New(env, "no reset is under way under this id");
  const int error = found->second->load();
  if (error == kUnderWay) return Napi::Boolean::New(env, false);
  resets.erase(found);
  if (error != 0) Fail(env, "reset", error);
  return Napi::Boolean::New(env, true);
}

}  // namespace

void RegisterResets(Napi::Object exports) {
  Export<BeginReset>(exports, "beginReset");
  Export<ResetEnded>(exports, "resetEnded");
}

}  // namespace device
