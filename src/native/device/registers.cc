// Mapped device registers: accesses of exactly one width, inside the mapping, never in its hidden parts.
//
// A mapping of registers ends under its user when the device goes: the kernel takes it away, and an access is SIGBUS. A page of all ones takes its place then,
// which is what a bus without a device reads, and the mapping remembers that it happened: no later access reaches it.
#include "../bus-errors.h"
#include "device.h"

#include <string.h>
#include <sys/mman.h>

#include <atomic>
#include <mutex>
#include <string>

namespace device {
namespace {

using namespace shm;

constexpr uintptr_t kPageBytes = 4096;
constexpr int kSlotBits = 8;
constexpr int kSlots = 1 << kSlotBits;
constexpr int kMostUses = 1 << 22;  // of one slot, before its numbers begin again
constexpr int64_t kLeastBytes = 16;  // of a memory BAR (PCI Local Bus 3.0, 6.2.5.1)
constexpr size_t kMostHidden = 2;   // the MSI-X table and its pending bits

struct Range {
  size_t start;
  size_t end;
};

// Identifiers are slot and sequence, so that a stale one matches nothing. The fields that the signal handler reads are atomic; a mapping is used by one thread.
struct Registers {
  std::atomic<uintptr_t> base{0};    // 0: unmapped, or abandoned
  std::atomic<size_t> mapped{0};     // bytes of the mapping; 0 while there is none
  std::atomic<bool> faulted{false};
  bool used = false;
  napi_env owner = nullptr;  // the thread that uses it
  int sequence = 0;
  size_t skipped = 0;  // bytes of the mapping before the registers
  size_t bytes = 0;
  size_t hidden_count = 0;
  Range hidden[kMostHidden] = {};
};

Registers table[kSlots];
std::mutex writers;

bool Replace(uintptr_t address) {
  for (Registers& registers : table) {
    const size_t mapped = registers.mapped.load(std::memory_order_acquire);
    const uintptr_t base = registers.base.load(std::memory_order_relaxed);
    if (mapped == 0 || address < base || address - base >= mapped) continue;
    void* const page = reinterpret_cast<void*>(address & ~(kPageBytes - 1));
    if (mmap(page, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return false;
    memset(page, 0xff, kPageBytes);
    registers.faulted.store(true, std::memory_order_relaxed);
    return true;
  }
  return false;
}

// A list of offsets: start and end of each part that no access reaches.
size_t Hidden(const Napi::CallbackInfo& info, size_t index, size_t bytes, Range* into) {
  const Napi::Env env = info.Env();
  if (!info[index].IsArray()) throw Napi::TypeError::New(env, "hidden must be an array");
  const Napi::Array list = info[index].As<Napi::Array>();
  const uint32_t length = list.Length();
  if (length % 2 != 0 || length / 2 > kMostHidden) throw Napi::RangeError::New(env, "hidden must be at most two pairs");
  for (uint32_t i = 0; i < length / 2; i++) {
    const int64_t start = Whole(env, list.Get(2 * i), "hidden", 0, static_cast<int64_t>(bytes));
    const int64_t end = Whole(env, list.Get(2 * i + 1), "hidden", start, static_cast<int64_t>(bytes));
    into[i] = {static_cast<size_t>(start), static_cast<size_t>(end)};
  }
  return length / 2;
}

void Unmap(Registers& registers) {
  const size_t mapped = registers.mapped.exchange(0);
  const uintptr_t base = registers.base.exchange(0);
  if (mapped != 0) munmap(reinterpret_cast<void*>(base), mapped);
}

// A thread that ends takes its mappings with it: they would keep the device's file open.
void EndOfThread(void* owner) {
  const std::lock_guard<std::mutex> lock(writers);
  for (Registers& registers : table) {
    if (!registers.used || registers.owner != owner) continue;
    Unmap(registers);
    registers.used = false;
  }
}

Napi::Value MapRegisters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int fd = Descriptor(info, 0);
  const int64_t offset = Whole(info, 1, "offset", 0, kMostExact);
  if (offset % kLeastBytes != 0) throw Napi::RangeError::New(env, "offset must be a multiple of 16");
  const size_t skipped = static_cast<size_t>(offset) % kPageBytes;
  const size_t bytes = static_cast<size_t>(Whole(info, 2, "bytes", 1, kMostExact));
  Range hidden[kMostHidden] = {};
  const size_t hidden_count = Hidden(info, 3, bytes, hidden);

  const std::lock_guard<std::mutex> lock(writers);
  BusErrors<Replace>::Install(env);
  int slot = 0;
  while (slot < kSlots && table[slot].used) slot++;
  if (slot == kSlots) throw Napi::RangeError::New(env, "as many registers are mapped as there may be");
  const size_t mapped = (skipped + bytes + kPageBytes - 1) & ~(kPageBytes - 1);
  void* const address = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset - static_cast<int64_t>(skipped));
  if (address == MAP_FAILED) Fail(env, "mmap");
  madvise(address, mapped, MADV_DONTFORK);  // a child has no business with them
  Registers& registers = table[slot];
  registers.used = true;
  registers.owner = env;
  registers.sequence = (registers.sequence + 1) % kMostUses;
  registers.skipped = skipped;
  registers.bytes = bytes;
  registers.hidden_count = hidden_count;
  for (size_t i = 0; i < hidden_count; i++) registers.hidden[i] = hidden[i];
  registers.faulted.store(false, std::memory_order_relaxed);
  registers.base.store(reinterpret_cast<uintptr_t>(address), std::memory_order_relaxed);
  registers.mapped.store(mapped, std::memory_order_release);
  return Napi::Number::New(env, registers.sequence << kSlotBits | slot);
}

Registers& Find(const Napi::CallbackInfo& info) {
  const int id = static_cast<int>(Whole(info, 0, "id", 0, kMostInt));
  Registers& registers = table[id & (kSlots - 1)];
  if (!registers.used || registers.sequence != id >> kSlotBits) throw Napi::RangeError::New(info.Env(), "no registers are mapped under this id");
  return registers;
}

Napi::Value UnmapRegisters(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(writers);
  Registers& registers = Find(info);
  Unmap(registers);
  registers.used = false;
  return info.Env().Undefined();
}

Napi::Value AbandonRegisters(const Napi::CallbackInfo& info) {
  const std::lock_guard<std::mutex> lock(writers);
  Unmap(Find(info));
  return info.Env().Undefined();
}

Napi::Value RegistersFaulted(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Find(info).faulted.load(std::memory_order_relaxed));
}

// Where the access goes; nullptr for registers that were abandoned, or taken away.
template <typename Width>
volatile Width* At(const Napi::CallbackInfo& info) {
  Registers& registers = Find(info);
  const int64_t offset = Whole(info, 1, "offset", 0, kMostExact);
  const size_t at = static_cast<size_t>(offset);
  const bool inside = sizeof(Width) <= registers.bytes && at <= registers.bytes - sizeof(Width) && at % sizeof(Width) == 0;
  if (!inside) throw Napi::RangeError::New(info.Env(), "the access does not lie inside the registers, aligned");
  for (size_t i = 0; i < registers.hidden_count; i++) {
    const bool outside = at + sizeof(Width) <= registers.hidden[i].start || at >= registers.hidden[i].end;
    if (!outside) throw Napi::RangeError::New(info.Env(), "the access lies in a part of the registers that is the kernel's");
  }
  // Where one page was taken away the device is gone, and the page that took its place is memory.
  const uintptr_t base = registers.faulted.load(std::memory_order_relaxed) ? 0 : registers.base.load(std::memory_order_relaxed);
  return base == 0 ? nullptr : reinterpret_cast<volatile Width*>(base + registers.skipped + at);
}

// Memory that was written before is seen by the device before the register is (and registers are read before memory that is read after them).
inline void BeforeWrite() {
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#else
  asm volatile("" ::: "memory");  // x86: stores are seen in order
#endif
}
inline void AfterRead() {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

template <typename Width>
Width Load(const Napi::CallbackInfo& info) {
  volatile Width* const at = At<Width>(info);
  if (at == nullptr) return static_cast<Width>(~Width{0});
  // By way of the stack, because QEMU's emulated processor leaves the device's other bits in its register, and takes them for zero.
  volatile const Width value = *at;
  AfterRead();
  return value;
}

template <typename Width>
Napi::Value Read(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Load<Width>(info));
}

template <>
Napi::Value Read<uint64_t>(const Napi::CallbackInfo& info) {
  return Napi::BigInt::New(info.Env(), Load<uint64_t>(info));
}

template <typename Width>
Napi::Value Write(const Napi::CallbackInfo& info) {
  volatile Width* const at = At<Width>(info);
  const Width value = static_cast<Width>(Whole(info, 2, "value", 0, static_cast<int64_t>(static_cast<Width>(~Width{0}))));
  if (at != nullptr) {
    BeforeWrite();
    *at = value;
  }
  return info.Env().Undefined();
}

template <>
Napi::Value Write<uint64_t>(const Napi::CallbackInfo& info) {
  volatile uint64_t* const at = At<uint64_t>(info);
  if (!info[2].IsBigInt()) throw Napi::TypeError::New(info.Env(), "value must be a bigint");
  bool lossless = false;
  const uint64_t value = info[2].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw Napi::RangeError::New(info.Env(), "value must be an unsigned number of 64 bits");
  if (at != nullptr) {
    BeforeWrite();
    *at = value;
  }
  return info.Env().Undefined();
}

}  // namespace

void RegisterRegisters(Napi::Object exports) {
  Check(exports.Env(), napi_add_env_cleanup_hook(exports.Env(), EndOfThread, static_cast<napi_env>(exports.Env())));
  Export<MapRegisters>(exports, "mapRegisters");
  Export<UnmapRegisters>(exports, "unmapRegisters");
  Export<AbandonRegisters>(exports, "abandonRegisters");
  Export<RegistersFaulted>(exports, "registersFaulted");
  Export<Read<uint8_t>>(exports, "read8");
  Export<Read<uint16_t>>(exports, "read16");
  Export<Read<uint32_t>>(exports, "read32");
  Export<Read<uint64_t>>(exports, "read64");
  Export<Write<uint8_t>>(exports, "write8");
  Export<Write<uint16_t>>(exports, "write16");
  Export<Write<uint32_t>>(exports, "write32");
  Export<Write<uint64_t>>(exports, "write64");
}

}  // namespace device
