// Signals: eventfds that clients hold, raised by a thread of this addon's own.
//
// A client shares the file description, so that it can clear O_NONBLOCK and fill the counter: a write(2) then blocks for ever. So nobody here writes. The
// kernel signals an eventfd by itself when an asynchronous read ends that names it (io_submit(2), IOCB_FLAG_RESFD), and that never blocks: a full counter
// stays full, and whoever waits is woken. The read is one of no bytes. It is done on a thread of its own, because a client can still make it slow: the kernel
// looks at everybody who waits for the eventfd.
//
// Whoever raises a signal adds to a counter, sets a bit, and wakes the thread if it sleeps; all without a lock. One word of a signal holds its sequence, which
// is 0 while nobody has it, together with the events that wait: a late raise of an earlier holder does not reach the next one.
#include "shm.h"

#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>
#include <string>

namespace shm {
namespace {

constexpr int kSlotBits = 12;
constexpr int kSignals = 1 << kSlotBits;
constexpr int kSequences = 1 << (31 - kSlotBits);  // an id is a slot and a sequence, and fits 31 bits
constexpr int kCountBits = 40;
constexpr uint64_t kCountMask = (uint64_t{1} << kCountBits) - 1;
constexpr int kBatch = 64;
constexpr int64_t kNanosecondsPerSecond = 1000000000;
constexpr int64_t kForever = INT64_MAX;

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNanosecondsPerSecond + now.tv_nsec;
}

struct Signal {
  std::atomic<uint64_t> word{0};  // sequence, and the events that wait
  std::atomic<bool> ending{false};
  std::atomic<uint64_t> events{0};
  std::atomic<uint64_t> sent{0};
  // Set before `word` is, and left alone until the thread has given the slot back.
  int fd = -1;
  int64_t gap = 0;    // nanoseconds from one signal to the next
  uint64_t most = 0;  // so many events do not wait for that; 0: any number does
  // The thread's alone.
  int64_t last = 0;
  bool active = false;
};

class Signals {
 public:
  // The id, or 0 with errno set. With an id the descriptor is ours.
  int Bind(int fd, int64_t gap, uint64_t most) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (!started_ && !Start()) return 0;
    int slot = 0;
    while (slot < kSignals && taken_[slot].load(std::memory_order_acquire)) slot++;
    if (slot == kSignals) {
      errno = ENOSPC;
      return 0;
    }
    taken_[slot].store(true, std::memory_order_relaxed);
    const uint32_t sequence = sequences_[slot] = sequences_[slot] % (kSequences - 1) + 1;
    Signal& signal = signals_[slot];
    signal.fd = fd;
    signal.gap = gap;
    signal.most = most;
    signal.last = Now() - gap;
    signal.events.store(0, std::memory_order_relaxed);
    signal.sent.store(0, std::memory_order_relaxed);
    signal.word.store(uint64_t{sequence} << kCountBits);
    return static_cast<int>(sequence << kSlotBits) | slot;
  }

  // False when the id is not there any more; so do the others.
  bool Raise(int id, uint64_t count) {
    Signal& signal = signals_[id & (kSignals - 1)];
    uint64_t word = signal.word.load();
    do {
      if (!Holds(word, id)) return false;
    } while (!signal.word.compare_exchange_weak(word, word + std::min(count, kCountMask - (word & kCountMask))));
    signal.events.fetch_add(count, std::memory_order_relaxed);
    Touch(id & (kSignals - 1));
    return true;
  }

  // It is not raised any more, and the thread closes the descriptor.
  bool End(int id) {
    Signal& signal = signals_[id & (kSignals - 1)];
    uint64_t word = signal.word.load();
    do {
      if (!Holds(word, id)) return false;
    } while (!signal.word.compare_exchange_weak(word, 0));
    signal.ending.store(true);
    Touch(id & (kSignals - 1));
    return true;
  }

  bool Count(int id, uint64_t* events, uint64_t* sent) {
    const Signal& signal = signals_[id & (kSignals - 1)];
    *events = signal.events.load(std::memory_order_relaxed);
    *sent = signal.sent.load(std::memory_order_relaxed);
    return Holds(signal.word.load(), id);
  }

 private:
  static bool Holds(uint64_t word, int id) { return word != 0 && word >> kCountBits == static_cast<uint64_t>(id) >> kSlotBits; }

  void Touch(int slot) {
    touched_[slot / 64].fetch_or(uint64_t{1} << (slot % 64));
    if (!asleep_.exchange(false)) return;
    const uint64_t one = 1;
    // Ours alone: never full, never blocking.
    if (write(wake_, &one, sizeof one) < 0) return;
  }

  // False with errno set: then nothing was taken.
  bool Start() {
    if (syscall(SYS_io_setup, kBatch, &context_) != 0) return false;
    wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    empty_ = wake_ < 0 ? -1 : memfd_create("ringwarden:signals", MFD_CLOEXEC);
    started_ = empty_ >= 0 && StartThread();
    if (started_) return true;
    const int error = errno;
    if (wake_ >= 0) close(wake_);
    if (empty_ >= 0) close(empty_);
    syscall(SYS_io_destroy, context_);
    context_ = 0;
    errno = error;
    return false;
  }

  bool StartThread();

  void Run() {
    pthread_setname_np(pthread_self(), "signals");
    for (;;) {
      const int64_t due = Turn();
      asleep_.store(true);
      // Whoever touches a signal after this sees that the thread sleeps.
      if (!AnyTouched()) Sleep(due);
      asleep_.store(false);
    }
  }

  void Sleep(int64_t due) {
    const int64_t left = due == kForever ? 0 : std::max<int64_t>(0, due - Now());
    const timespec timeout = {static_cast<time_t>(left / kNanosecondsPerSecond), static_cast<long>(left % kNanosecondsPerSecond)};
    pollfd waiting = {wake_, POLLIN, 0};
    uint64_t count;
    if (ppoll(&waiting, 1, due == kForever ? nullptr : &timeout, nullptr) > 0 && read(wake_, &count, sizeof count) < 0) return;
  }

  bool AnyTouched() const {
    return std::any_of(std::begin(touched_), std::end(touched_), [](const std::atomic<uint64_t>& bits) { return bits.load() != 0; });
  }

  // Serves what was touched and what waits. When the next one is due.
  int64_t Turn() {
    for (int word = 0; word < kSignals / 64; word++) {
      for (uint64_t bits = touched_[word].exchange(0); bits != 0; bits &= bits - 1) Activate(word * 64 + __builtin_ctzll(bits));
    }
    const int64_t now = Now();
    int64_t due = kForever;
    int kept = 0;
    for (int i = 0; i < active_count_; i++) {
      const int64_t next = Serve(active_[i], now);
      signals_[active_[i]].active = next != kForever;
      if (next != kForever) active_[kept++] = active_[i];
      due = std::min(due, next);
    }
    active_count_ = kept;
    Submit();
    return due;
  }

  void Activate(int slot) {
    if (signals_[slot].active) return;
    signals_[slot].active = true;
    active_[active_count_++] = slot;
  }

  // When it is to be served again, or kForever if only a touch can change anything.
  int64_t Serve(int slot, int64_t now) {
    Signal& signal = signals_[slot];
    if (signal.ending.load()) {
      close(signal.fd);  // an eventfd: this does not wait for anybody
      signal.ending.store(false);
      taken_[slot].store(false, std::memory_order_release);
      return kForever;
    }
    uint64_t word = signal.word.load();
    if ((word & kCountMask) == 0) return kForever;
    const int64_t due = signal.last + signal.gap;
    const bool enough = signal.most != 0 && (word & kCountMask) >= signal.most;
    if (now < due && !enough) return due;
    do {
      if (word == 0) return kForever;
    } while (!signal.word.compare_exchange_weak(word, word & ~kCountMask));
    signal.last = now;
    signal.sent.fetch_add(1, std::memory_order_relaxed);
    if (queued_ == kBatch) Submit();
    iocb& request = requests_[queued_];
    request = {};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<uint32_t>(empty_);
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = static_cast<uint32_t>(signal.fd);
    pointers_[queued_] = &request;
    queued_++;
    return kForever;
  }

  void Submit() {
    int begun = 0;
    while (begun < queued_) {
      const long count = syscall(SYS_io_submit, context_, static_cast<long>(queued_ - begun), pointers_ + begun);
      const int error = errno;
      // A read of no bytes has ended when it was begun.
      io_event ended[kBatch];
      timespec none = {0, 0};
      syscall(SYS_io_getevents, context_, 0L, static_cast<long>(kBatch), ended, &none);
      if (count > 0) begun += static_cast<int>(count);
      else if (error == EAGAIN) usleep(1000);  // the kernel is short of memory
      else if (error != EINTR) begun++;
    }
    queued_ = 0;
  }

  std::mutex mutex_;  // of Bind alone
  bool started_ = false;
  aio_context_t context_ = 0;
  int wake_ = -1;
  int empty_ = -1;  // the file that is read
  std::atomic<bool> asleep_{false};
  std::atomic<uint64_t> touched_[kSignals / 64] = {};
  std::atomic<bool> taken_[kSignals] = {};
  uint32_t sequences_[kSignals] = {};
  Signal signals_[kSignals];
  // The thread's alone.
  int active_[kSignals];
  int active_count_ = 0;
  iocb requests_[kBatch];
  iocb* pointers_[kBatch];
  int queued_ = 0;
};

bool Signals::StartThread() {
  return StartDetached([this] { Run(); });
}

Signals& All() {
  static Signals& signals = *new Signals;  // never destroyed: its thread runs until the process ends
  return signals;
}

// What the kernel calls the file; nobody can give that name to another one. No file system is asked, so that none can keep us waiting.
bool IsEventfd(int fd) {
  char name[32];
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(path.c_str(), name, sizeof name);
  return length > 0 && std::string(name, static_cast<size_t>(length)) == "anon_inode:[eventfd]";
}

int Id(const Napi::CallbackInfo& info) { return static_cast<int>(Whole(info, 0, "id", 1, kMostInt)); }

Napi::Value SignalBind(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const int64_t gap = Whole(info, 1, "microseconds", 0, kMostInt) * 1000;
  const int64_t most = Whole(info, 2, "events", 0, kMostInt);
  if (!IsEventfd(fd)) Fail(info.Env(), "eventfd", EINVAL);
  const int id = All().Bind(fd, gap, static_cast<uint64_t>(most));
  if (id == 0) Fail(info.Env(), "io_setup");
  return Napi::Number::New(info.Env(), id);
}

Napi::Value SignalRaise(const Napi::CallbackInfo& info) {
  const int id = Id(info);
  return Napi::Boolean::New(info.Env(), All().Raise(id, static_cast<uint64_t>(Whole(info, 1, "count", 1, UINT32_MAX))));
}

Napi::Value SignalEnd(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), All().End(Id(info))); }

Napi::Value SignalCounters(const Napi::CallbackInfo& info) {
  uint64_t events, sent;
  if (!All().Count(Id(info), &events, &sent)) return info.Env().Undefined();
  Napi::Object counters = Napi::Object::New(info.Env());
  counters.Set("events", Napi::Number::New(info.Env(), static_cast<double>(events)));
  counters.Set("signals", Napi::Number::New(info.Env(), static_cast<double>(sent)));
  return counters;
}

}  // namespace

void RegisterSignals(Napi::Object exports) {
  Export<SignalBind>(exports, "signalBind");
  Export<SignalRaise>(exports, "signalRaise");
  Export<SignalEnd>(exports, "signalEnd");
  Export<SignalCounters>(exports, "signalCounters");
}

}  // namespace shm
