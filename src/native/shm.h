// What the files of the `shm` addon share: argument checks, errors, and one registration function a file.
// The interface and its contract are in shm.ts.
#pragma once

#include <napi.h>

#include <cerrno>
#include <climits>
#include <cstdint>
#include <functional>

namespace shm {

constexpr int64_t kMostExact = (int64_t{1} << 53) - 1;  // Number.MAX_SAFE_INTEGER
constexpr int64_t kMostInt = INT_MAX;

// The bytes of a typed array as they are now. JavaScript that runs afterwards may detach them: take them last, use them at once.
struct Bytes {
  uint8_t* data;
  size_t length;
};

// Each of these throws TypeError (not such a type) or RangeError (not in the range); `index` counts arguments from 0.
int64_t Whole(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t least, int64_t most);
int64_t Whole(Napi::Env env, napi_value value, const char* name, int64_t least, int64_t most);
int Descriptor(const Napi::CallbackInfo& info, size_t index, const char* name = "fd");
bool Flag(const Napi::CallbackInfo& info, size_t index, const char* name);
std::string Text(const Napi::CallbackInfo& info, size_t index, const char* name, size_t most);
Bytes ByteArray(const Napi::CallbackInfo& info, size_t index, const char* name);
Bytes IntArray(const Napi::CallbackInfo& info, size_t index, const char* name);  // an Int32Array; `length` is in elements

// The bytes of an ArrayBuffer that `map` made and that is still mapped, and where they are.
size_t MappingOf(const Napi::CallbackInfo& info, size_t index, void** address);
// Bytes of a page of the mapping at `address`.
size_t PageOf(void* address);
// The mapping at `address` is about to end: a fault there is an error again.
void Unguard(void* address);

// A thread that nobody waits for. False with errno set.
bool StartDetached(std::function<void()> function);
// Takes the descriptors over and closes them on a thread that may be lost. False when they have to wait: `owner`, the user whose they were, has others there
// that hang.
bool CloseElsewhere(const int* descriptors, size_t count, uint32_t owner);
// The user at the other end of a Unix socket.
uint32_t PeerOf(int fd);

[[noreturn]] void Fail(Napi::Env env, const char* syscall, int error = errno);

// Throws what a failed Node-API call left behind.
inline void Check(Napi::Env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

template <Napi::Value (*function)(const Napi::CallbackInfo&)>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<function>(exports.Env(), name));
}

void RegisterMemory(Napi::Object exports);
void RegisterGuard(Napi::Object exports);
void RegisterDescriptors(Napi::Object exports);
void RegisterExecute(Napi::Object exports);
void RegisterEvents(Napi::Object exports);
void RegisterSockets(Napi::Object exports);
void RegisterWakers(Napi::Object exports);
void RegisterSignals(Napi::Object exports);
void RegisterClosers(Napi::Object exports);
void RegisterConfine(Napi::Object exports);
void RegisterNotify(Napi::Object exports);

}  // namespace shm
