#include "shm.h"

static Napi::Object Register(Napi::Env, Napi::Object exports) {
  shm::RegisterMemory(exports);
  shm::RegisterGuard(exports);
  shm::RegisterDescriptors(exports);
  shm::RegisterExecute(exports);
  shm::RegisterEvents(exports);
  shm::RegisterSockets(exports);
  shm::RegisterWakers(exports);
  shm::RegisterSignals(exports);
  shm::RegisterClosers(exports);
  shm::RegisterConfine(exports);
  shm::RegisterNotify(exports);
  return exports;
}

NODE_API_MODULE(shm, Register)
