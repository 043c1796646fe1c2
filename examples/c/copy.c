/*
 * Copies blocks within a share and compares: first through the messages of the session, then through rings in shared memory.
 *
 *   cc -std=c11 -O2 -o copy examples/c/copy.c
 *   ./copy ringwarden-data/ringwarden.sock alice nvme0
 */
#include "ringwarden.h"

enum { FROM = 0, TO = 64, BLOCKS = 64, STEP = 8 };

static int through_messages(rw_session *session, const rw_queue *queue, uint8_t *block) {
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    if (rw_read(session, queue, 0, FROM + at, STEP, block) != 0) return -1;
    if (rw_write(session, queue, 0, TO + at, STEP, block) != 0) return -1;
  }
  printf("copied %d blocks through messages\n", BLOCKS);
  return 0;
}

/* Writes what the copies will be made of: every block starts with its number. */
static int fill(rw_session *session, const rw_queue *queue, uint8_t *block, uint32_t round) {
  const size_t bytes = queue->lease->block_bytes;
  memset(block, 0x5a, STEP * bytes);
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    for (uint32_t i = 0; i < STEP; i++) {
      const uint32_t number = round + at + i;
      memcpy(block + i * bytes, &number, sizeof number);
    }
    if (rw_write(session, queue, 0, FROM + at, STEP, block) != 0) return -1;
  }
  return 0;
}

static int compare(rw_session *session, const rw_queue *queue, uint8_t *block, uint32_t round) {
  for (uint32_t at = 0; at < BLOCKS; at += STEP) {
    if (rw_read(session, queue, 0, TO + at, STEP, block) != 0) return -1;
    for (uint32_t i = 0; i < STEP; i++) {
      uint32_t number;
      memcpy(&number, block + i * (size_t)queue->lease->block_bytes, sizeof number);
      if (number != round + at + i) return rw_fail(session, "block %u is a copy of %u", TO + at + i, number - round);
    }
  }
  printf("compared: the same\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s SOCKET TENANT DEVICE\n", argv[0]);
    return 2;
  }
  rw_session session;
  rw_lease lease;
  rw_queue queue;
  uint8_t *block = NULL;
  int status = 1;
  if (rw_connect(&session, argv[1], argv[2]) == 0 && rw_open_device(&session, argv[3], &lease) == 0 && rw_open_queue(&session, &lease, 16, &queue) == 0) {
    block = rw_grow(NULL, STEP * (size_t)lease.block_bytes);
    if (fill(&session, &queue, block, 1000) == 0 && through_messages(&session, &queue, block) == 0 && compare(&session, &queue, block, 1000) == 0) status = 0;
  }
  if (status != 0) fprintf(stderr, "%s: %s\n", argv[0], session.error);
  free(block);
  rw_disconnect(&session);
  return status;
}
