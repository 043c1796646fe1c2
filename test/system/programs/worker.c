/*
 * A client to be killed: attaches, works through messages and rings, lets go, and attaches again, without end.
 *
 *   worker SOCKET TENANT DEVICE FIRST      on eight blocks of share 0 from block FIRST on, which nobody else has
 *
 * Writes a letter for each step: a, attached; w, wrote and read back what it wrote; r, was refused and tries again (places are few, and others want them);
 * x, read something else than it wrote, and ends.
 */
#include "ringwarden.h"

#include <time.h>

enum { BLOCKS = 8, ROUNDS = 8, ENTRIES = 32 };

static void say(char letter) {
  if (write(1, &letter, 1) != 1) _exit(2);
}

static void fill(uint8_t *data, size_t bytes, uint64_t mark) {
  for (size_t at = 0; at < bytes; at += sizeof mark) {
    const uint64_t word = mark * 0x9e3779b97f4a7c15u + at;
    memcpy(data + at, &word, sizeof word);
  }
}

/* Everything that is on the ring ends well. */
static int finish(rw_session *session, rw_ring *ring, uint32_t count) {
  rw_ring_commit(ring);
  while (count > 0) {
    rw_completion completion;
    if (!rw_ring_take(ring, &completion)) {
      if (rw_ring_wait(session, ring) != 0) return -1;
    } else if (rw_check(session, &completion) != 0) {
      return -1;
    } else {
      count--;
    }
  }
  return 0;
}

static void put(rw_ring *ring, const rw_queue *queue, const rw_region *region, int operation, uint64_t first, uint32_t block, uint64_t tag) {
  rw_entry entry = rw_transfer(queue, operation, 0, first + block, 1);
  entry.tag = tag;
  entry.region = region->handle;
  entry.offset = (block + (operation == RW_READ ? BLOCKS : 0)) * (uint64_t)queue->lease->block_bytes;
  rw_ring_put(ring, &entry);
}

/* One life: 0 when it came to its end, -1 when something was refused. */
static int live(rw_session *session, const char *device, uint64_t first, uint64_t *mark, rw_ring *ring, rw_region *region) {
  rw_lease lease;
  rw_queue messages, rings;
  if (rw_open_device(session, device, &lease) != 0 || rw_open_queue(session, &lease, ENTRIES, &messages) != 0 ||
      rw_open_queue(session, &lease, ENTRIES, &rings) != 0)
    return -1;
  const size_t bytes = BLOCKS * (size_t)lease.block_bytes;
  if (rw_map_region(session, 2 * bytes, region) != 0 || rw_share_queue(session, &rings, ring) != 0) return -1;
  say('a');
  for (uint32_t round = 0; round < ROUNDS; round++) {
    fill(region->memory, bytes, ++*mark);
    for (uint32_t block = 0; block < BLOCKS; block++) put(ring, &rings, region, RW_WRITE, first, block, block);
    if (finish(session, ring, BLOCKS) != 0) return -1;
    for (uint32_t block = 0; block < BLOCKS; block++) put(ring, &rings, region, RW_READ, first, block, block);
    if (finish(session, ring, BLOCKS) != 0) return -1;
    bool same = memcmp(region->memory, region->memory + bytes, bytes) == 0;
    /* The same blocks by message, into the other half. */
    memset(region->memory + bytes, 0, bytes);
    if (rw_read(session, &messages, 0, first, BLOCKS, region->memory + bytes) != 0) return -1;
    same = same && memcmp(region->memory, region->memory + bytes, bytes) == 0;
    if (!same) {
      say('x');
      _exit(3);
    }
    say('w');
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  uint64_t mark = (uint64_t)getpid() << 32;
  for (;;) {
    rw_session session;
    rw_ring ring = {.doorbell = -1};
    rw_region region = {0};
    const bool connected = rw_connect(&session, argv[1], argv[2]) == 0;
    if (!connected || live(&session, argv[3], strtoull(argv[4], NULL, 10), &mark, &ring, &region) != 0) {
      fprintf(stderr, "%s\n", session.error);
      say('r');
      nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    if (ring.doorbell >= 0) rw_ring_close(&ring);
    if (region.memory != NULL) munmap(region.memory, region.bytes);
    if (connected) rw_disconnect(&session);
  }
}
