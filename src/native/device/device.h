// What the files of the `device` addon share beside the argument checks of shm.h. The interface and its contract are in device.ts.
#pragma once

#include "../shm.h"

namespace device {

void RegisterRegisters(Napi::Object exports);
void RegisterPages(Napi::Object exports);
void RegisterVfio(Napi::Object exports);
void RegisterResets(Napi::Object exports);
void RegisterEvents(Napi::Object exports);
void RegisterGuardian(Napi::Object exports);

}  // namespace device
