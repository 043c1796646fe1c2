/*
 * One side of a litmus test on memory that another program has mapped, too (descriptor 3): litmus SHAPE SIDE ROUNDS BYTES. It makes the accesses that
 * examples/c/ringwarden.h makes to its rings, and litmus.mjs has the other side and the layout.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MINE = 0, VARIABLE = 32, RESULTS = 4096, TAIL = 0, HEAD = 16, RING = 1024, ENTRIES = 64, WORDS = 16, SPINS = 1000 };

typedef struct {
  uint32_t words[WORDS];
} entry;

static uint32_t *memory;

static _Atomic uint32_t *at(int word) { return (_Atomic uint32_t *)(void *)(memory + word); }

static void wait_until(int word, uint32_t least) {
  for (uint32_t spins = 0; (int32_t)(atomic_load(at(word)) - least) < 0;)
    if (++spins % SPINS == 0) sched_yield();
}

/* Store to one's own, load the other's, as fast after each other on both sides as can be had. */
static void store_buffering(int side, uint32_t rounds) {
  for (uint32_t round = 1; round <= rounds; round++) {
    atomic_store(at(MINE + 16 * side), round);
    wait_until(MINE + 16 * (1 - side), round);
    atomic_store(at(VARIABLE + 16 * side), round);
    memory[RESULTS + side * rounds + round - 1] = atomic_load(at(VARIABLE + 16 * (1 - side)));
  }
}

static void produce(uint32_t rounds) {
  for (uint32_t index = 0; index < rounds; index++) {
    entry made;
    for (uint32_t word = 0; word < WORDS; word++) made.words[word] = index * WORDS + word;
    wait_until(HEAD, index + 1 - ENTRIES);
    memcpy(memory + RING + index % ENTRIES * WORDS, &made, sizeof made);
    atomic_store(at(TAIL), index + 1);
  }
}

static int consume(uint32_t rounds) {
  for (uint32_t index = 0; index < rounds; index++) {
    entry taken;
    wait_until(TAIL, index + 1);
    memcpy(&taken, memory + RING + index % ENTRIES * WORDS, sizeof taken);
    atomic_store(at(HEAD), index + 1);
    for (uint32_t word = 0; word < WORDS; word++) {
      if (taken.words[word] == index * WORDS + word) continue;
      fprintf(stderr, "entry %u, word %u: %u\n", index, word, taken.words[word]);
      return 1;
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const uint32_t rounds = (uint32_t)strtoul(argv[3], NULL, 10);
  const int side = atoi(argv[2]);
  memory = mmap(NULL, strtoul(argv[4], NULL, 10), PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
  if (memory == MAP_FAILED) return 2;
  if (strcmp(argv[1], "sb") == 0) store_buffering(side, rounds);
  else if (side == 0) produce(rounds);
  else return consume(rounds);
  return 0;
}
