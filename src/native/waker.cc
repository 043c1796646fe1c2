// Wakers: a thread that never runs its event loop calls a function on one that does.
//
// The registry is process-wide. A waker is in it exactly as long as its thread-safe function may be called; both change under one mutex,
// which is held for a few instructions only. An environment that ends takes its wakers out by a clean-up hook.
#include "shm.h"

#include <atomic>
#include <mutex>
#include <unordered_map>

namespace shm {
namespace {

struct Waker {
  explicit Waker(napi_env owner) : env(owner) {}
  const napi_env env;
  int id = 0;
  napi_threadsafe_function function = nullptr;
  std::atomic<bool> pending{false};  // a call is queued that has not begun: further wakes are merged into it
};

class Registry {
 public:
  // The id, or 0 when all 2^31 - 1 have been given out.
  int Add(Waker* waker) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (next_ == INT_MAX) return 0;
    waker->id = next_++;
    wakers_[waker->id] = waker;
    return waker->id;
  }

  bool Wake(int id) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto entry = wakers_.find(id);
    if (entry == wakers_.end()) return false;
    Waker* const waker = entry->second;
    if (waker->pending.exchange(true)) return true;
    const napi_status status = napi_call_threadsafe_function(waker->function, nullptr, napi_tsfn_nonblocking);
    if (status == napi_ok) return true;
    if (status == napi_closing) wakers_.erase(entry);  // that answer gave up our use of the function: it must not be touched again
    waker->pending.store(false);
    return false;
  }

  enum class Taken { kDone, kNone, kForeign };

  // Ends the waker: nothing can call its function afterwards. `env` is whoever asks.
  Taken Take(int id, napi_env env) {
    const std::lock_guard<std::mutex> guard(mutex_);
    const auto entry = wakers_.find(id);
    if (entry == wakers_.end()) return Taken::kNone;
    if (entry->second->env != env) return Taken::kForeign;
    Waker* const waker = entry->second;
    wakers_.erase(entry);
    napi_release_threadsafe_function(waker->function, napi_tsfn_abort);
    return Taken::kDone;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<int, Waker*> wakers_;
  int next_ = 1;
};

Registry& Wakers() {
  static Registry& registry = *new Registry;  // never destroyed: other threads may still wake while the process ends
  return registry;
}

void EndWithEnvironment(void* data) {
  const Waker* const waker = static_cast<Waker*>(data);
  Wakers().Take(waker->id, waker->env);
}

void Call(napi_env env, napi_value onWake, void* context, void*) {
  if (env == nullptr) return;  // what was still queued when the waker ended: Finalize has run, `context` is gone
  // Before the function: a wake that comes while it runs must bring another call.
  static_cast<Waker*>(context)->pending.store(false);
  napi_value self;
  if (napi_get_undefined(env, &self) != napi_ok) return;
  if (napi_call_function(env, self, onWake, 0, nullptr, nullptr) != napi_pending_exception) return;
  // Node drops exceptions of such calls with a warning only: this makes it an 'uncaughtException', as from any other event.
  napi_value thrown;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) napi_fatal_exception(env, thrown);
}

void Finalize(napi_env env, void* data, void*) {
  Waker* const waker = static_cast<Waker*>(data);
  napi_remove_env_cleanup_hook(env, EndWithEnvironment, waker);
  Wakers().Take(waker->id, waker->env);
  delete waker;
}

Napi::Value CreateWaker(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) throw Napi::TypeError::New(env, "onWake must be a function");
  Waker* const waker = new Waker(env);
  const napi_status status = napi_create_threadsafe_function(env, info[0], nullptr, Napi::String::New(env, "shm.waker"), 0, 1, waker, Finalize,
                                                             waker, Call, &waker->function);
  if (status != napi_ok) {
    delete waker;
    throw Napi::Error::New(env);
  }
  if (Wakers().Add(waker) == 0) {
    napi_release_threadsafe_function(waker->function, napi_tsfn_abort);
    throw Napi::RangeError::New(env, "no waker ids are left");
  }
  Check(env, napi_add_env_cleanup_hook(env, EndWithEnvironment, waker));
  return Napi::Number::New(env, waker->id);
}

Napi::Value Wake(const Napi::CallbackInfo& info) {
  const int id = static_cast<int>(Whole(info, 0, "id", 1, kMostInt));
  return Napi::Boolean::New(info.Env(), Wakers().Wake(id));
}

Napi::Value CloseWaker(const Napi::CallbackInfo& info) {
  const int id = static_cast<int>(Whole(info, 0, "id", 1, kMostInt));
  if (Wakers().Take(id, info.Env()) == Registry::Taken::kForeign) {
    throw Napi::TypeError::New(info.Env(), "a waker is closed by the thread that created it");
  }
  return info.Env().Undefined();
}

}  // namespace

void RegisterWakers(Napi::Object exports) {
  Export<CreateWaker>(exports, "createWaker");
  Export<Wake>(exports, "wake");
  Export<CloseWaker>(exports, "closeWaker");
}

}  // namespace shm
