/*
 * Copies blocks within a share and compares: first through the messages of the session, then through rings in shared memory.
 *
 *   cc -std=c11 -O2 -o copy examples/c/copy.c
 *   ./copy ringwarden-data/ringwarden.sock alice nvme0
 *   ringwarden run --tenant alice --device nvme0 -- ./copy
 */
#include "ringwarden.h"

enum { FROM = 0, TO = 64, BLOCKS = 64, STEP = 8, LANES = 8, ENTRIES = 16 };

/* A lane has one request at a time, and there are fewer lanes than entries: there is always room. */
static void put(rw_ring *ring, const rw_queue *queue, const rw_region *region, int operation, uint32_t block) {
  rw_entry entry = rw_transfer(queue, operation, 0, (operation == RW_READ ? FROM : TO) + block, 1);
  entry.tag = (uint64_t)operation << 32 | block;
  entry.region = region->handle;
  entry.offset = block % LANES * (uint64_t)queue->lease->block_bytes;
  rw_ring_put(ring, &entry);
}

static int through_messages(rw_session *session, const rw_queue *queue, uint8_t *data) {
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    if (rw_read(session, queue, 0, FROM + at, STEP, data) != 0) return -1;
    if (rw_write(session, queue, 0, TO + at, STEP, data) != 0) return -1;
  }
  printf("copied %d blocks through messages\n", BLOCKS);
  return 0;
}

/* One block at a time in each lane: read, then written. All lanes are under way at once. */
static int through_rings(rw_session *session, const rw_lease *lease, const rw_queue *queue) {
  rw_ring ring = {.doorbell = -1};
  rw_region region = {0};
  if (rw_map_region(session, LANES * (size_t)lease->block_bytes, &region) != 0 || rw_share_queue(session, queue, &ring) != 0) return -1;

  uint32_t started = 0, copied = 0;
  int result = 0;
  for (; started < LANES; started++) put(&ring, queue, &region, RW_READ, started);
  rw_ring_commit(&ring);
  while (result == 0 && copied < BLOCKS) {
    rw_completion completion;
    bool any = false;
    while (result == 0 && rw_ring_take(&ring, &completion)) {
      /* The tag says what ended: which block, and what was done with it. */
      const uint32_t block = (uint32_t)completion.tag;
      result = rw_check(session, &completion);
      if (result != 0) break;
      any = true;
      if (completion.tag >> 32 == RW_READ) {
        put(&ring, queue, &region, RW_WRITE, block);
      } else {
        copied++;
        if (block + LANES < BLOCKS) put(&ring, queue, &region, RW_READ, block + LANES);
      }
    }
    if (any) rw_ring_commit(&ring);
    else if (result == 0) result = rw_ring_wait(session, &ring);
  }
  rw_ring_close(&ring);
  munmap(region.memory, region.bytes);
  if (result == 0) printf("copied %d blocks through rings\n", BLOCKS);
  return result;
}

/* Writes what the copies will be made of: every block starts with its number. */
static int fill(rw_session *session, const rw_queue *queue, uint8_t *data, uint32_t round) {
  const size_t bytes = queue->lease->block_bytes;
  memset(data, 0x5a, STEP * bytes);
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    for (uint32_t i = 0; i < STEP; i++) {
      const uint32_t number = round + at + i;
      memcpy(data + i * bytes, &number, sizeof number);
    }
    if (rw_write(session, queue, 0, FROM + at, STEP, data) != 0) return -1;
  }
  return 0;
}

static int compare(rw_session *session, const rw_queue *queue, uint8_t *data, uint32_t round) {
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    if (rw_read(session, queue, 0, TO + at, STEP, data) != 0) return -1;
    for (uint32_t i = 0; i < STEP; i++) {
      uint32_t number;
      memcpy(&number, data + i * (size_t)queue->lease->block_bytes, sizeof number);
      if (number != round + at + i) return rw_fail(session, "block %u is a copy of %u", TO + at + i, number - round);
    }
  }
  printf("compared: the same\n");
  return 0;
}

/* With arguments by itself, without any as `ringwarden run` began it. */
static int begin(rw_session *session, rw_lease *lease, char **argv) {
  if (argv[1] == NULL) return rw_inherit(session, lease);
  return rw_connect(session, argv[1], argv[2]) == 0 ? rw_open_device(session, argv[3], lease) : -1;
}

int main(int argc, char **argv) {
  if (argc != 4 && !(argc == 1 && rw_is_launched())) {
    fprintf(stderr, "usage: %s SOCKET TENANT DEVICE\n       ringwarden run --device DEVICE -- %s\n", argv[0], argv[0]);
    return 2;
  }
  rw_session session;
  rw_lease lease;
  rw_queue messages, rings;
  uint8_t *data = NULL;
  int status = 1;
  if (begin(&session, &lease, argv) == 0 && rw_open_queue(&session, &lease, ENTRIES, &messages) == 0 &&
      rw_open_queue(&session, &lease, ENTRIES, &rings) == 0) {
    data = rw_grow(NULL, STEP * (size_t)lease.block_bytes);
    if (fill(&session, &messages, data, 1000) == 0 && through_messages(&session, &messages, data) == 0 && compare(&session, &messages, data, 1000) == 0 &&
        fill(&session, &messages, data, 2000) == 0 && through_rings(&session, &lease, &rings) == 0 && compare(&session, &messages, data, 2000) == 0) {
      status = 0;
    }
  }
  if (status != 0) fprintf(stderr, "%s: %s\n", argv[0], session.error);
  free(data);
  rw_disconnect(&session);
  return status;
}
