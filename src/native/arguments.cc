// Argument checks: everything JavaScript hands over is proven to be of its type and range before it is used.
#include "shm.h"

#include <cmath>

namespace shm {

int64_t Whole(Napi::Env env, napi_value value, const char* name, int64_t least, int64_t most) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    throw Napi::TypeError::New(env, std::string(name) + " must be a number");
  }
  // Positive form: NaN fails every comparison. The bounds are exact in a double.
  const bool whole = number >= static_cast<double>(least) && number <= static_cast<double>(most) && std::trunc(number) == number;
  if (!whole) {
    throw Napi::RangeError::New(env, std::string(name) + " must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return static_cast<int64_t>(number);
}

int64_t Whole(const Napi::CallbackInfo& info, size_t index, const char* name, int64_t least, int64_t most) {
  return Whole(info.Env(), info[index], name, least, most);
}

int Descriptor(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return static_cast<int>(Whole(info, index, name, 0, kMostInt));
}

bool Flag(const Napi::CallbackInfo& info, size_t index, const char* name) {
  bool flag;
  if (napi_get_value_bool(info.Env(), info[index], &flag) != napi_ok) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a boolean");
  }
  return flag;
}

std::string Text(const Napi::CallbackInfo& info, size_t index, const char* name, size_t most) {
  if (!info[index].IsString()) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a string");
  size_t length = 0;
  Check(info.Env(), napi_get_value_string_utf8(info.Env(), info[index], nullptr, 0, &length));
  if (length > most) throw Napi::RangeError::New(info.Env(), std::string(name) + " must have at most " + std::to_string(most) + " bytes");
  std::string text = info[index].As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) throw Napi::RangeError::New(info.Env(), std::string(name) + " must not contain a zero byte");
  return text;
}

static Bytes Elements(const Napi::CallbackInfo& info, size_t index, const char* name, napi_typedarray_type wanted, const char* kind) {
  napi_typedarray_type type;
  size_t length;
  void* data;
  const bool array = info[index].IsTypedArray() &&
                     napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, nullptr, nullptr) == napi_ok && type == wanted;
  if (!array) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be " + kind);
  // A detached array has length 0, so that every range check on it fails.
  return {static_cast<uint8_t*>(data), length};
}

Bytes ByteArray(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return Elements(info, index, name, napi_uint8_array, "a Uint8Array");
}

Bytes IntArray(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return Elements(info, index, name, napi_int32_array, "an Int32Array");
}

}  // namespace shm
