// What a client can try with the descriptors that it was given: 3 the request ring, 4 the completion ring, 5 a region, which this program maps
// before it is sealed. Prints "mapped", waits for a line (the region is sealed then), and prints one line for each attempt: its name, and "ok" or the
// error. With names as arguments, the descriptors from 3 on are files of those names that it can only read. Attempts that only harm the client itself are not among them.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t kPage = 4096;

static void Say(const std::string& name, bool worked) { std::printf("%s %s\n", name.c_str(), worked ? "ok" : strerrorname_np(errno)); }

static void* MapOf(int fd, int protection) { return mmap(nullptr, kPage, protection, MAP_SHARED, fd, 0); }

static void Attack(const char* name, int fd) {
  const std::string of(name);
  Say(of + " map", MapOf(fd, PROT_READ | PROT_WRITE) != MAP_FAILED);
  void* const reading = MapOf(fd, PROT_READ);
  Say(of + " protect", reading != MAP_FAILED && mprotect(reading, kPage, PROT_READ | PROT_WRITE) == 0);
  Say(of + " remove", reading != MAP_FAILED && madvise(reading, kPage, MADV_REMOVE) == 0);
  Say(of + " write", pwrite(fd, "x", 1, 0) == 1);
  Say(of + " truncate", ftruncate(fd, 0) == 0);
  Say(of + " grow", ftruncate(fd, 1 << 24) == 0);
  Say(of + " punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage) == 0);
  Say(of + " seal", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
  Say(of + " seal-shrink", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  Say(of + " chmod", fchmod(fd, 0666) == 0);
}

// The file opened again through /proc, for writing.
static void Reopen(const char* name, int fd) {
  const std::string of = std::string(name) + " reopened";
  const int again = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR);
  Say(of, again >= 0);
  if (again < 0) return;
  Say(of + " map", MapOf(again, PROT_READ | PROT_WRITE) != MAP_FAILED);
  Say(of + " write", pwrite(again, "x", 1, 0) == 1);
  Say(of + " truncate", ftruncate(again, 0) == 0);
  Say(of + " punch", fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage) == 0);
  Say(of + " seal", fcntl(again, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

int main(int count, char** names) {
  for (int at = 1; at < count; at++) {
    Attack(names[at], 2 + at);
    Reopen(names[at], 2 + at);
  }
  if (count > 1) return 0;
  void* const before = MapOf(5, PROT_READ | PROT_WRITE);
  std::printf(before == MAP_FAILED ? "not mapped\n" : "mapped\n");
  std::fflush(stdout);
  char line[16];
  if (std::fgets(line, sizeof line, stdin) == nullptr) return 1;

  Attack("completions", 4);
  Reopen("completions", 4);
  Say("requests truncate", ftruncate(3, 0) == 0);
  Say("requests grow", ftruncate(3, 1 << 24) == 0);
  Say("requests seal", fcntl(3, F_ADD_SEALS, F_SEAL_WRITE) == 0);
  Attack("region", 5);
  Reopen("region", 5);
  Say("region old mapping remove", madvise(before, kPage, MADV_REMOVE) == 0);
  Say("region old mapping write", (static_cast<char*>(before)[0] = 1) == 1);
  return 0;
}
