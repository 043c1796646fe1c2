/**
 * One side of a litmus test on shared memory, in a thread: makes the accesses that both ends of the rings make (src/server/engine/client-queue.ts,
 * src/client/shared-ring.ts). litmus.c is the same in C. workerData: {fd, bytes, shape, side, rounds}.
 *
 * - `sb`, store buffering: each side stores its own variable, then loads the other's. At least one of the two has to see the other's store: the index and
 *   `needsWakeup` of the rings. `sb-plain` makes the same accesses without Atomics, to see that the machine does reorder them.
 * - `mp`, message passing with slots that are used again: side 0 writes entries word by word and stores the tail; side 1 loads the tail, reads the words and
 *   stores the head; side 0 loads the head before it writes there again.
 *
 * Layout, in 32-bit words: 0 and 16, how far each side is (`sb`), or tail and head (`mp`); 32 and 48, the variables; from 1024, the ring; from 4096, what each side
 * loaded in each round, `rounds` words each.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { shm } from '../../../dist/native/shm.js';
import { ENTRY_HALVES, copyEntry } from '../../../dist/protocol/copy.js';

const [MINE, VARIABLE, RESULTS, TAIL, HEAD, RING, ENTRIES] = [0, 32, 4_096, 0, 16, 1_024, 64];
const WORDS = 2 * ENTRY_HALVES;
const SPINS = 1_000;

const { fd, bytes, shape, side, rounds } = workerData;
const buffer = shm().map(fd, 0, bytes, true);
const indices = new Int32Array(buffer);
const memory = new Uint32Array(buffer);
const halves = new BigUint64Array(buffer);

function waitUntil(word, least) {
  for (let spins = 1; ((Atomics.load(indices, word) - least) | 0) < 0; spins++) if (spins % SPINS === 0) shm().yieldProcessor();
}

function storeBuffering() {
  const [mine, other] = [VARIABLE + 16 * side, VARIABLE + 16 * (1 - side)];
  for (let round = 1; round <= rounds; round++) {
    Atomics.store(indices, MINE + 16 * side, round);
    waitUntil(MINE + 16 * (1 - side), round);
    Atomics.store(indices, mine, round);
    memory[RESULTS + side * rounds + round - 1] = Atomics.load(indices, other);
  }
}

function storeBufferingPlain() {
  const [mine, other] = [VARIABLE + 16 * side, VARIABLE + 16 * (1 - side)];
  for (let round = 1; round <= rounds; round++) {
    Atomics.store(indices, MINE + 16 * side, round);
    waitUntil(MINE + 16 * (1 - side), round);
    indices[mine] = round;
    memory[RESULTS + side * rounds + round - 1] = indices[other];
  }
}

/** Where entry `index` begins, in halves. */
const slotOf = (index) => RING / 2 + (index % ENTRIES) * ENTRY_HALVES;

function produce() {
  const inHalves = new BigUint64Array(ENTRY_HALVES);
  const entry = new Uint32Array(inHalves.buffer);
  for (let index = 0; index < rounds; index++) {
    for (let word = 0; word < WORDS; word++) entry[word] = index * WORDS + word;
    waitUntil(HEAD, index + 1 - ENTRIES);
    copyEntry(halves, slotOf(index), inHalves, 0);
    Atomics.store(indices, TAIL, index + 1);
  }
}

function consume() {
  const inHalves = new BigUint64Array(ENTRY_HALVES);
  const entry = new Uint32Array(inHalves.buffer);
  for (let index = 0; index < rounds; index++) {
    waitUntil(TAIL, index + 1);
    copyEntry(inHalves, 0, halves, slotOf(index));
    Atomics.store(indices, HEAD, index + 1);
    for (let word = 0; word < WORDS; word++)
      if (entry[word] !== (index * WORDS + word) >>> 0) throw new Error(`entry ${index}, word ${word}: ${entry[word]}`);
  }
}

if (shape === 'sb') storeBuffering();
else if (shape === 'sb-plain') storeBufferingPlain();
else if (side === 0) produce();
else consume();
shm().unmap(buffer);
parentPort.postMessage('done');
