/** Attacks on rings in shared memory: what a client writes there, while the server reads it. */
import { setTimeout as delay } from 'node:timers/promises';
import { shm } from '../../../native/shm.js';
import { CODES, CompletionRing, ENTRY_WORDS, EntryWord, Operation, RING_HEADER_WORDS, codeName } from '../../../protocol/index.js';
import type { Foothold } from '../mediated/foothold.js';
import { RING_ENTRIES, type Rings } from '../mediated/shared-memory.js';
import type { MediatedWorld } from '../mediated/world.js';
import { queueInOthersMemory, ringBeyond } from '../raw/control-damage.js';
import { changeListAfterCheck } from '../raw/memory-damage.js';
import { type Attack, type Reply, faulted, harmless, notApplicable, refused } from '../types.js';
import { within } from '../within.js';

const RACES = 200;
/** A race is run for so long at most before the others on this machine get a turn, milliseconds. */
const RACE_MS = 20;
const STORM_MS = 1_000;
const REST_MS = 200;
const STORM_BYTES = 65_536;

/** What a client may store in the two indices that are its own, and that no honest client would. */
const LIES: readonly ((rings: Rings) => void)[] = [
  ({ ring }) => ring.setTail(RING_ENTRIES + 1),
  ({ ring }) => ring.setTail(-1),
  ({ ring }) => ring.setTail(-(2 ** 31)),
  ({ ring }) => ring.setHead(1),
  ({ ring }) => ring.setHead(-1),
];

export const ringAttacks: readonly Attack[] = [
  {
    id: 'ring-indices',
    title: 'ring indices that point at what is not there',
    requirement: 'R07',
    expected: { raw: 'corrupted', mediated: [faulted('ringContract')] },
    raw: ringBeyond,
    mediated: async (world) => {
      const replies: Reply[] = [];
      for (const lie of LIES) {
        const foothold = await world.foothold();
        const rings = await world.memory.rings(foothold);
        lie(rings);
        rings.ring.ring();
        replies.push(await foothold.attacker.fault());
      }
      return replies.find(({ code }) => code !== 'ringContract') ?? replies[0];
    },
  },
  {
    id: 'ring-race',
    title: 'entries rewritten while the server copies them',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [harmless] },
    raw: changeListAfterCheck,
    mediated: rewriteWhileTaken,
  },
  {
    id: 'ring-huge',
    title: 'rings of sizes that there are not',
    requirement: 'R16',
    expected: { raw: 'corrupted', mediated: [refused('outOfRange')] },
    raw: queueInOthersMemory,
    mediated: async (world) => {
      const { attacker, lease } = await world.foothold();
      const sizes = [0, 1, 3, 1_023, 2_048, 65_536, 2 ** 26, 2 ** 31, 2 ** 32, 2 ** 52];
      const told = await Promise.all(sizes.map((entries) => attacker.ask('openQueue', { lease, entries })));
      return (told.find(({ reply }) => reply.code !== 'outOfRange') ?? told[0]).reply;
    },
  },
  {
    id: 'ring-and-message',
    title: 'messages to a queue whose rings are mapped',
    requirement: 'R07',
    expected: { raw: 'not-applicable', mediated: [refused('queueShared')] },
    raw: notApplicable('a ring has one way in'),
    mediated: async (world) => {
      const foothold = await world.foothold();
      const { queue } = await world.memory.rings(foothold);
      const entry = foothold.entry({ queue });
      return (await foothold.submit(new Uint32Array(ENTRY_WORDS), [entry.tag], undefined, { queue }))[0];
    },
  },
  {
    id: 'ring-never-reap',
    title: 'completions that are never taken',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: notApplicable('a full completion queue stops its own submission queue'),
    mediated: neverReap,
  },
  {
    id: 'wake-storm',
    title: 'wake-ups without end, none of which is read',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: notApplicable('a doorbell register is a number, and wakes nobody'),
    mediated: stormWakeups,
  },
];

/** Waits until so many completions were written. */
async function completed({ ring }: Rings, count: number): Promise<void> {
  const look = async (): Promise<void> => {
    while (ring.completed !== count) await delay(0);
  };
  await within('a completion on the ring', look());
}

/** A request on the ring, as an honest client makes it: whether the ring still works. */
export async function ringAnswers(foothold: Foothold, rings: Rings): Promise<boolean> {
  rings.ring.write(foothold.entry({ queue: rings.queue, operation: Operation.flush, blocks: 0, region: 0, length: 0 }));
  rings.ring.commit();
  await completed(rings, rings.ring.tail);
  return rings.ring.reap().at(-1)?.code === CODES.ok.code;
}

/** Each word flips between what is the attacker's and what is another's, without a pause, while the server takes the entries. */
async function rewriteWhileTaken(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const rings = await world.memory.rings(foothold);
  const { ring, queue } = rings;
  const words = new Uint32Array(ring.requests.buffer);
  const otherRegion = foothold.region ^ world.alice.regions[0].region;
  const seen = new Set<number>();
  for (let race = 0; race < RACES; race++) {
    for (let entry = 0; entry < RING_ENTRIES; entry++) ring.write(foothold.entry({ queue }));
    ring.commit();
    const deadline = performance.now() + RACE_MS;
    while (Atomics.load(ring.completions, CompletionRing.requestHead) !== ring.tail && performance.now() < deadline) {
      for (let at = RING_HEADER_WORDS; at < words.length; at += ENTRY_WORDS) {
        words[at] ^= Operation.read ^ Operation.write;
        words[at + EntryWord.lbaLow] ^= foothold.blocks;
        words[at + EntryWord.region] ^= otherRegion;
        words[at + EntryWord.offsetLow] ^= 0x8000_0000;
      }
    }
    await completed(rings, ring.tail);
    for (const { code } of ring.reap()) seen.add(code);
  }
  const strange = [...seen].find((code) => code >= CODES.malformed.code);
  if (strange !== undefined) throw new Error(`a request ended with ${codeName(strange) ?? strange}`);
  if (!seen.has(CODES.ok.code) || seen.size < 2) throw new Error('the race was never close: every entry came to the same');
  return harmless;
}

/** The server takes no more requests than it has room to answer, waits for nobody, and goes on when there is room. */
async function neverReap(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const rings = await world.memory.rings(foothold);
  const { ring, queue } = rings;
  const fill = (): void => {
    for (let entry = 0; entry < RING_ENTRIES; entry++) ring.write(foothold.entry({ queue }));
    ring.commit();
  };
  fill();
  await completed(rings, RING_ENTRIES);
  fill();
  await delay(REST_MS);
  if (ring.completed !== RING_ENTRIES) throw new Error('completions were written over those that were not taken');
  ring.reap();
  ring.ring();
  await completed(rings, 2 * RING_ENTRIES);
  return harmless;
}

/** Rings without reason, says that it sleeps and never does, and lets the server's own wake-ups fill the connection. */
async function stormWakeups(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const rings = await world.memory.rings(foothold);
  const { ring, queue } = rings;
  const flood = new Uint8Array(STORM_BYTES);
  ring.setSleeping(true);
  const end = performance.now() + STORM_MS;
  while (performance.now() < end) {
    for (let times = 0; times < 16; times++) shm().send(ring.doorbell, flood, 0, flood.length);
    ring.write(foothold.entry({ queue }));
    ring.commit();
    await completed(rings, ring.tail);
    ring.reap();
  }
  return harmless;
}
