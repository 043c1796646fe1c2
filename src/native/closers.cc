// Closing what clients sent. Closing a file can take as long as its owner likes: a TCP socket that lingers, a file system of the client's own. So it is done on
// threads that may be lost, and nobody else waits: neither the engines nor the event loop. Each user can keep a few of them, and all users together some more;
// what comes then stays open until one of that user's is back.
#include "shm.h"

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace shm {
namespace {

constexpr int kMostThreads = 256;
constexpr int kMostThreadsOfOne = 16;

struct Owner {
  int threads = 0;
  std::vector<int> left;  // descriptors that nobody has begun to close
};

struct Closers {
  std::mutex mutex;  // held for a few instructions only
  std::map<uint32_t, Owner> owners;
  int threads = 0;
};

Closers& All() {
  static Closers& closers = *new Closers;  // never destroyed: its threads may outlive everything
  return closers;
}

void Run(uint32_t name) {
  Closers& all = All();
  for (;;) {
    int fd;
    {
      const std::lock_guard<std::mutex> guard(all.mutex);
      Owner& owner = all.owners[name];
      if (owner.left.empty()) {
        all.threads--;
        if (--owner.threads == 0) all.owners.erase(name);
        return;
      }
      fd = owner.left.back();
      owner.left.pop_back();
    }
    close(fd);
  }
}

bool HasRoom(const Closers& all, uint32_t name) {
  const auto owner = all.owners.find(name);
  return all.threads < kMostThreads && (owner == all.owners.end() || owner->second.threads < kMostThreadsOfOne);
}

Napi::Value CloseElsewhereOf(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const uint32_t owner = static_cast<uint32_t>(Whole(info, 1, "owner", 0, UINT32_MAX));
  return Napi::Boolean::New(info.Env(), CloseElsewhere(&fd, 1, owner));
}

// Whether something was sent that nobody has received. Descriptors that are only looked at stay where they are.
bool HoldsData(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

Napi::Value CloseConnection(const Napi::CallbackInfo& info) {
  const int fd = Descriptor(info, 0);
  const bool shared = Flag(info, 1, "shared");
  // Nothing can be sent to it after this (unix(7)), so what is not there now never will be.
  if (!shared) shutdown(fd, SHUT_RD);
  if (HoldsData(fd)) CloseElsewhere(&fd, 1, PeerOf(fd));
  else if (close(fd) != 0 && errno == EBADF) Fail(info.Env(), "close");
  return info.Env().Undefined();
}

Napi::Value CanCloseElsewhere(const Napi::CallbackInfo& info) {
  const uint32_t owner = static_cast<uint32_t>(Whole(info, 0, "owner", 0, UINT32_MAX));
  Closers& all = All();
  const std::lock_guard<std::mutex> guard(all.mutex);
  return Napi::Boolean::New(info.Env(), HasRoom(all, owner));
}

}  // namespace

bool StartDetached(std::function<void()> function) {
  // The process's signals are for Node's threads.
  sigset_t every, before;
  sigfillset(&every);
  pthread_sigmask(SIG_SETMASK, &every, &before);
  int error = 0;
  try {
    std::thread(std::move(function)).detach();
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return error == 0;
}

bool CloseElsewhere(const int* descriptors, size_t count, uint32_t name) {
  if (count == 0) return true;
  Closers& all = All();
  {
    const std::lock_guard<std::mutex> guard(all.mutex);
    const bool room = HasRoom(all, name);
    Owner& owner = all.owners[name];
    owner.left.insert(owner.left.end(), descriptors, descriptors + count);
    if (!room) return false;
    owner.threads++;
    all.threads++;
  }
  if (StartDetached([name] { Run(name); })) return true;
  const std::lock_guard<std::mutex> guard(all.mutex);
  all.threads--;
  all.owners[name].threads--;
  return false;
}

uint32_t PeerOf(int fd) {
  ucred peer = {};
  socklen_t length = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.uid : UINT32_MAX;
}

void RegisterClosers(Napi::Object exports) {
  Export<CloseElsewhereOf>(exports, "closeElsewhere");
  Export<CloseConnection>(exports, "closeConnection");
  Export<CanCloseElsewhere>(exports, "canCloseElsewhere");
}

}  // namespace shm
