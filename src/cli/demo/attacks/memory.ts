/** Attacks on memory: whose bytes the device reaches. */
import { Operation } from '../../../protocol/index.js';
import { REGION_BYTES } from '../mediated/foothold.js';
import type { MediatedWorld } from '../mediated/world.js';
import {
  chainIntoOthersList,
  changeListAfterCheck,
  freeInFlight,
  lieAboutLength,
  readOthersMemory,
  runPastBuffer,
  sweepBus,
  useAfterFree,
  writeOthersMemory,
} from '../raw/memory-damage.js';
import { type Attack, type Reply, harmless, notApplicable, refused } from '../types.js';

const PAGE_BYTES = 4_096;
/** A region handle is slot | sequence << 16: these are all that a small domain can have. */
const GUESSED_SLOTS = 64;
const GUESSED_SEQUENCES = 16;
const GUESSES_AT_A_TIME = 128;
const ROUNDS = 60;

export const memoryAttacks: readonly Attack[] = [
  {
    id: 'dma-write',
    title: "read blocks into somebody else's memory",
    requirement: 'R41',
    expected: { raw: 'corrupted', mediated: [refused('unknownRegion')] },
    raw: writeOthersMemory,
    mediated: async (world) => (await world.foothold()).request({ region: world.alice.regions[0].region }),
  },
  {
    id: 'dma-read',
    title: "write somebody else's memory to own blocks",
    requirement: 'R30',
    expected: { raw: 'leaked', mediated: [refused('unknownRegion')] },
    raw: readOthersMemory,
    mediated: async (world) => (await world.foothold()).request({ operation: Operation.write, region: world.bob.regions[0].region }),
  },
  {
    id: 'buffer-overrun',
    title: 'transfer that runs past the end of its buffer',
    requirement: 'R16',
    expected: { raw: 'corrupted', mediated: [refused('offsetOutsideRegion')] },
    raw: runPastBuffer,
    mediated: async (world) => (await world.foothold()).request({ offset: BigInt(REGION_BYTES - PAGE_BYTES + 4) }),
  },
  {
    id: 'offset-wrap',
    title: 'offset whose sum with the length wraps',
    requirement: 'R16',
    expected: { raw: 'not-applicable', mediated: [refused('offsetOutsideRegion')] },
    raw: notApplicable('a descriptor has no offset: it names the address itself'),
    mediated: async (world) => (await world.foothold()).request({ offset: 2n ** 64n - BigInt(PAGE_BYTES) }),
  },
  {
    id: 'length-lie',
    title: 'length of one block in a request for eight',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [refused('lengthMismatch')] },
    raw: lieAboutLength,
    mediated: async (world) => (await world.foothold()).request({ offset: BigInt(REGION_BYTES - 512), length: 512 }),
  },
  {
    id: 'prp-race',
    title: 'PRP list changed after it was checked',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [harmless] },
    raw: changeListAfterCheck,
    mediated: rewriteInFlight,
  },
  {
    id: 'prp-chain',
    title: 'PRP list that goes on outside its region',
    requirement: 'R37',
    expected: { raw: 'corrupted', mediated: [refused('offsetOutsideRegion')] },
    raw: chainIntoOthersList,
    mediated: async (world) => (await world.foothold()).request({ blocks: 24, offset: BigInt(REGION_BYTES - 2 * PAGE_BYTES) }),
  },
  {
    id: 'address-guess',
    title: 'search through all addresses, or handles',
    requirement: 'R07',
    expected: { raw: 'leaked', mediated: [refused('unknownRegion')] },
    raw: sweepBus,
    mediated: guessHandles,
  },
  {
    id: 'use-after-unmap',
    title: 'memory used after it was given back',
    requirement: 'R03',
    expected: { raw: 'corrupted', mediated: [refused('unknownRegion')] },
    raw: useAfterFree,
    mediated: async (world) => {
      const foothold = await world.foothold();
      await foothold.attacker.must('unmapMemory', { region: foothold.region });
      return foothold.request();
    },
  },
  {
    id: 'unmap-in-flight',
    title: 'memory given back while the device works on it',
    requirement: 'R03',
    expected: { raw: 'corrupted', mediated: [refused('regionBusy'), harmless] },
    raw: freeInFlight,
    mediated: unmapInFlight,
  },
  {
    id: 'exit-in-flight',
    title: 'program killed while the device works for it',
    requirement: 'R21',
    expected: { raw: 'corrupted', mediated: [harmless] },
    raw: freeInFlight,
    mediated: exitInFlight,
  },
  {
    id: 'leftover-memory',
    title: 'fresh memory searched for what others left there',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: notApplicable('the operating system zeroes what it hands out; the device has no part in it'),
    mediated: searchFreshMemory,
  },
];

/** Fills its own memory with bus addresses, again and again, while the device transfers to and from it: whatever list there is, it is not there. */
async function rewriteInFlight(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const addresses = Buffer.alloc(REGION_BYTES);
  for (let at = 0; at < REGION_BYTES; at += 8) addresses.writeBigUInt64LE(0x1_0000_0000n + BigInt(at / 8) * BigInt(PAGE_BYTES), at);
  for (let round = 0; round < ROUNDS; round++) {
    const operation = round % 2 === 0 ? Operation.read : Operation.write;
    const blocks = REGION_BYTES / 512;
    const inFlight = foothold.request({ operation, blocks });
    const rewrites = [0, 1, 2].map(() => foothold.attacker.ask('writeMemory', { region: foothold.region, offset: 0, data: addresses }));
    const replies = [await inFlight, ...(await Promise.all(rewrites)).map(({ reply }) => reply)];
    const refusal = replies.find((reply) => reply.outcome !== 'harmless');
    if (refusal !== undefined) return refusal;
  }
  return harmless;
}

/** Every handle that a small domain can have, except its own. All must be refused for the same reason. */
async function guessHandles(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const guesses: number[] = [];
  for (let sequence = 0; sequence < GUESSED_SEQUENCES; sequence++)
    for (let slot = 0; slot < GUESSED_SLOTS; slot++) guesses.push((sequence << 16) | slot);
  const others = guesses.filter((guess) => guess !== foothold.region);
  const codes = new Map<string, Reply>();
  for (let at = 0; at < others.length; at += GUESSES_AT_A_TIME) {
    const entries = others.slice(at, at + GUESSES_AT_A_TIME).map((region) => foothold.entry({ region }));
    for (const reply of await foothold.batch(entries)) codes.set(`${reply.outcome} ${reply.code}`, reply);
  }
  const [first, ...more] = codes.values();
  return more[0] ?? first;
}

async function unmapInFlight(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const requests = foothold.batch(Array.from({ length: 64 }, () => foothold.entry({ blocks: REGION_BYTES / 512 })));
  const { reply } = await foothold.attacker.ask('unmapMemory', { region: foothold.region });
  const replies = await requests;
  // Those that came after the region was gone are refused; none may have failed in another way.
  const strange = replies.find(({ code }) => code !== '' && code !== 'unknownRegion');
  return strange ?? reply;
}

/** The memory that a tenant gets right after the attacker was killed holds nothing, and nothing comes into it. */
async function exitInFlight(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  await foothold.attacker.must('writeMemory', { region: foothold.region, offset: 0, data: Buffer.alloc(REGION_BYTES, 0xa5) });
  await foothold.request({ operation: Operation.write, blocks: REGION_BYTES / 512 });
  const requests = foothold.batch(Array.from({ length: 64 }, () => foothold.entry({ blocks: REGION_BYTES / 512 })));
  requests.catch(() => undefined);
  foothold.attacker.terminate();
  const fresh = await Promise.all([0, 1, 2, 3].map(() => world.bob.client.allocate(REGION_BYTES)));
  for (let look = 0; look < 5; look++) {
    for (const region of fresh) {
      const bytes = await region.read(0, REGION_BYTES);
      if (bytes.some((byte) => byte !== 0)) throw new Error("the device wrote into a tenant's fresh memory");
    }
  }
  await Promise.all(fresh.map((region) => region.unmap()));
  return harmless;
}

async function searchFreshMemory(world: MediatedWorld): Promise<Reply> {
  const { client, canaries } = world.alice;
  const secret = canaries[0].expected;
  const given = await client.allocate(secret.length);
  await given.write(0, secret);
  await given.unmap();
  const attacker = await world.session();
  await attacker.must('setDomain');
  for (let count = 0; count < 16; count++) {
    const { region } = await attacker.must('mapMemory', { bytes: secret.length });
    const { data } = await attacker.must('readMemory', { region, offset: 0, length: secret.length });
    if ((data as Uint8Array).some((byte) => byte !== 0)) throw new Error('fresh memory is not zero');
  }
  return harmless;
}
