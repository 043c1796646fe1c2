#include "device.h"

static Napi::Object Register(Napi::Env, Napi::Object exports) {
  device::RegisterRegisters(exports);
  device::RegisterPages(exports);
  device::RegisterVfio(exports);
  device::RegisterResets(exports);
  device::RegisterEvents(exports);
  device::RegisterGuardian(exports);
  return exports;
}

NODE_API_MODULE(device, Register)
