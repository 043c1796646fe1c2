/*
 * The floor under a request over shared memory: two processes, one cache line each way, 4 KiB copied, nothing else.
 *   floor rtt COUNT       one after the other
 *   floor open RATE MS    RATE a second for MS milliseconds, timed from when each was due
 * Prints {"p50": ..., "p99": ..., "p999": ...} in microseconds.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 256, LOOKS = 256 };

struct shared {
  _Alignas(64) _Atomic uint32_t asked;
  _Alignas(64) _Atomic uint32_t answered;
  _Alignas(64) unsigned char medium[PAGES][PAGE];
  unsigned char memory[PAGES][PAGE];
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* Between two looks; now and then the processor is offered to somebody else. */
static void rest(unsigned *looks) {
  if (++*looks % LOOKS == 0) sched_yield();
}

static void serve(struct shared *shared) {
  unsigned looks = 0;
  for (uint32_t done = 0;; done++) {
    while (atomic_load(&shared->asked) == done) rest(&looks);
    memcpy(shared->memory[done % PAGES], shared->medium[done % PAGES], PAGE);
    atomic_store(&shared->answered, done + 1);
  }
}

static int order(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static double percentile(const double *sorted, size_t count, double share) {
  return sorted[(size_t)((double)count * share)];
}

/* Requests are `gap` microseconds apart; at 0 each follows on the answer before. */
static void ask(struct shared *shared, size_t count, double gap, double *taken) {
  unsigned looks = 0;
  uint32_t sent = 0;
  double start = now();
  for (size_t done = 0; done < count;) {
    double due = gap == 0 ? now() : start + (double)sent * gap;
    if (sent < count && (gap == 0 ? sent == done : due <= now()) && sent - done < PAGES) {
      if (gap == 0) taken[sent] = due;
      atomic_store(&shared->asked, ++sent);
    }
    uint32_t answered = atomic_load(&shared->answered);
    if (answered == done) {
      rest(&looks);
      continue;
    }
    double end = now();
    for (; done < answered; done++) taken[done] = end - (gap == 0 ? taken[done] : start + (double)done * gap);
  }
}

int main(int argc, char **argv) {
  int open_loop = argc == 4 && strcmp(argv[1], "open") == 0;
  if (!open_loop && (argc != 3 || strcmp(argv[1], "rtt") != 0)) {
    fprintf(stderr, "usage: floor rtt COUNT | floor open RATE MILLISECONDS\n");
    return 2;
  }
  double gap = open_loop ? 1e6 / atof(argv[2]) : 0;
  size_t count = open_loop ? (size_t)(atof(argv[3]) * 1000 / gap) : (size_t)atol(argv[2]);
  struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double *taken = malloc((count + 1) * sizeof *taken);
  if (shared == MAP_FAILED || taken == NULL || count == 0) {
    fprintf(stderr, "floor: no memory, or nothing to do\n");
    return 1;
  }
  memset(shared, 1, sizeof *shared);
  memset(taken, 0, (count + 1) * sizeof *taken);
  atomic_store(&shared->asked, 0);
  atomic_store(&shared->answered, 0);
  pid_t server = fork();
  if (server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(shared);
  }
  ask(shared, count, gap, taken);
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
  qsort(taken, count, sizeof *taken, order);
  printf("{\"p50\": %.3f, \"p99\": %.3f, \"p999\": %.3f}\n", percentile(taken, count, 0.5), percentile(taken, count, 0.99), percentile(taken, count, 0.999));
  return 0;
}
