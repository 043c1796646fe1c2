/** Attacks with what belongs to somebody else, or to another time: leases, queues, tags, domains, generations, names. */
import { ENTRY_WORDS, Operation, PROTOCOL_VERSION, packEntry } from '../../../protocol/index.js';
import type { Foothold } from '../mediated/foothold.js';
import { DEVICE } from '../mediated/server.js';
import type { MediatedWorld } from '../mediated/world.js';
import { forgeCompletion, outliveReset, replayCommand, ringOthersDoorbell } from '../raw/control-damage.js';
import { type Attack, type Reply, faulted, harmless, notApplicable, refused } from '../types.js';

/** At what is a race with the device. */
const ATTEMPTS = 50;

export const identityAttacks: readonly Attack[] = [
  {
    id: 'other-lease',
    title: "requests on somebody else's lease",
    requirement: 'R04',
    expected: { raw: 'stalled', mediated: [refused('unknownLease')] },
    raw: ringOthersDoorbell,
    mediated: async (world) => submitTo(await world.foothold(), { lease: world.alice.device.lease, queue: world.alice.device.queue.queue }),
  },
  {
    id: 'entry-lease',
    title: "somebody else's lease inside an entry",
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('leaseMismatch')] },
    raw: notApplicable('a descriptor does not say whose it is'),
    mediated: async (world) => (await world.foothold()).request({ lease: world.alice.device.lease }),
  },
  {
    id: 'other-queue',
    title: 'a queue that the lease does not have',
    requirement: 'R34',
    expected: { raw: 'stalled', mediated: [refused('unknownQueue')] },
    raw: ringOthersDoorbell,
    mediated: async (world) => submitTo(await world.foothold(), { queue: 3 }),
  },
  {
    id: 'entry-queue',
    title: 'another queue inside an entry',
    requirement: 'R34',
    expected: { raw: 'not-applicable', mediated: [refused('queueMismatch')] },
    raw: notApplicable('a descriptor does not say which queue it is for'),
    mediated: async (world) => (await world.foothold()).request({ queue: 1 }),
  },
  {
    id: 'other-tag',
    title: "completion of somebody else's request",
    requirement: 'R36',
    expected: { raw: 'corrupted', mediated: [harmless] },
    raw: forgeCompletion,
    mediated: useOthersTags,
  },
  {
    id: 'same-tag',
    title: 'one tag for two requests in flight',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('tagInUse')] },
    raw: notApplicable('command identifiers are the program’s own affair'),
    mediated: useTagTwice,
  },
  {
    id: 'stale-generation',
    title: 'request from before a reset',
    requirement: 'R21',
    expected: { raw: 'corrupted', mediated: [refused('staleGeneration')] },
    raw: outliveReset,
    mediated: async (world) => {
      const foothold = await world.foothold();
      await foothold.attacker.must('resetLease', { lease: foothold.lease });
      return foothold.request({ operation: Operation.write });
    },
  },
  {
    id: 'replay',
    title: 'message that was sent before, sent again',
    requirement: 'R04',
    expected: { raw: 'corrupted', mediated: [faulted('replayedId')] },
    raw: replayCommand,
    mediated: async (world) => {
      const attacker = await world.session();
      await attacker.must('setDomain');
      attacker.send({ type: 'mapMemory', id: 1, bytes: 4_096 });
      return attacker.fault();
    },
  },
  {
    id: 'sibling-lease',
    title: 'lease of another program of the same tenant',
    requirement: 'R04',
    expected: { raw: 'stalled', mediated: [refused('unknownLease')] },
    raw: ringOthersDoorbell,
    mediated: async (world) => {
      const first = await world.foothold();
      const sibling = await world.foothold({ domain: first.domain });
      return submitTo(sibling, { lease: first.lease, queue: first.queue });
    },
  },
  {
    id: 'other-domain',
    title: "joining somebody else's domain",
    requirement: 'R27',
    expected: { raw: 'not-applicable', mediated: [refused('unknownDomain')] },
    raw: notApplicable('there is one domain: all of memory'),
    mediated: async (world) => (await (await world.session()).ask('setDomain', { domain: world.alice.domain })).reply,
  },
  {
    id: 'no-domain',
    title: 'device opened before a domain is set',
    requirement: 'R26',
    expected: { raw: 'not-applicable', mediated: [refused('noDomain')] },
    raw: notApplicable('nothing has to be set before the device does DMA'),
    mediated: async (world) => (await (await world.session()).ask('openDevice', { device: DEVICE, mode: 'shared', queues: 'shared' })).reply,
  },
  {
    id: 'no-hello',
    title: 'requests before saying who it is',
    requirement: 'R26',
    expected: { raw: 'not-applicable', mediated: [faulted('notAuthenticated')] },
    raw: notApplicable('nobody asks'),
    mediated: async (world) => {
      const attacker = await world.connect();
      return (await attacker.ask('setDomain')).reply;
    },
  },
  {
    id: 'hello-twice',
    title: 'becoming another tenant later',
    requirement: 'R26',
    expected: { raw: 'not-applicable', mediated: [faulted('alreadyAuthenticated')] },
    raw: notApplicable('there are no tenants'),
    mediated: async (world) => (await (await world.session()).hello('alice', world.server.tokens.mallory)).reply,
  },
  {
    id: 'impostor',
    title: "another tenant's name with one's own token",
    requirement: 'R26',
    expected: { raw: 'not-applicable', mediated: [faulted('authenticationFailed')] },
    raw: notApplicable('there are no tenants'),
    mediated: async (world) => (await (await world.connect()).hello('alice', world.server.tokens.mallory)).reply,
  },
  {
    id: 'no-token',
    title: "another tenant's name without a token",
    requirement: 'R26',
    expected: { raw: 'not-applicable', mediated: [faulted('authenticationFailed')] },
    raw: notApplicable('there are no tenants'),
    mediated: async (world) => (await (await world.connect()).ask('hello', { version: PROTOCOL_VERSION, tenant: 'alice' })).reply,
  },
];

/** A read that names this lease and this queue throughout, in the message and in the entry. */
async function submitTo(foothold: Foothold, to: { lease?: number; queue?: number }): Promise<Reply> {
  const entry = foothold.entry(to);
  const words = new Uint32Array(ENTRY_WORDS);
  packEntry(words, 0, entry);
  const [reply] = await foothold.submit(words, [entry.tag], undefined, to);
  return reply;
}

/** Two requests with one tag in one message. The second one is refused while the first is in flight, which it may no longer be. */
async function useTagTwice(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const entry = foothold.entry({ blocks: 128 });
    const words = new Uint32Array(2 * ENTRY_WORDS);
    for (const at of [0, ENTRY_WORDS]) packEntry(words, at, entry);
    const replies = await foothold.submit(words, [entry.tag, entry.tag]);
    const refusal = replies.find(({ outcome }) => outcome !== 'harmless');
    if (refusal !== undefined) return refusal;
  }
  return harmless;
}

/** The tags that the SDK of the tenants uses: small slots, small sequences. Each comes back to the attacker, once, and to nobody else. */
async function useOthersTags(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  for (let sequence = 0; sequence < 32; sequence++) {
    const entries = Array.from({ length: 16 }, (_, slot) => foothold.entry({ tag: BigInt(slot) | (BigInt(sequence) << 32n), blocks: 1 }));
    const strange = (await foothold.batch(entries)).find(({ outcome }) => outcome !== 'harmless');
    if (strange !== undefined) return strange;
  }
  return harmless;
}
