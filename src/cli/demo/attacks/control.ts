/** Attacks on what only the server may touch: rings, registers, interrupts, resets; and on what there is only so much of. */
import { ENTRY_WORDS, EntryWord, Operation, packEntry } from '../../../protocol/index.js';
import { QUEUE_ENTRIES } from '../mediated/foothold.js';
import { DEVICE, MALLORYS_SESSIONS } from '../mediated/server.js';
import type { MediatedWorld } from '../mediated/world.js';
import {
  aimInterrupt,
  deleteOthersQueue,
  forgeInterrupt,
  pointQueuesNowhere,
  queueInOthersMemory,
  resetController,
  ringBeyond,
  writeRegistersByDma,
} from '../raw/control-damage.js';
import { type Attack, type Reply, faulted, harmless, notApplicable, refused } from '../types.js';

const MIB = 2 ** 20;
/** Where BARs and interrupt messages are on a PC. */
const BAR_ADDRESS = 0xc000_0000n;
const INTERRUPT_ADDRESS = 0xfee0_0000n;
const OPEN_QUEUES = 8;
const RESETS = 20;

export const controlAttacks: readonly Attack[] = [
  {
    id: 'msi-address',
    title: "interrupt message aimed at somebody else's memory",
    requirement: 'R41',
    expected: { raw: 'corrupted', mediated: [faulted('unknownField')] },
    raw: aimInterrupt,
    mediated: async (world) => {
      const { attacker, lease } = await world.foothold();
      return (await attacker.ask('bindVector', { lease, vector: 0, enable: true, address: 0x1_0000_0000, data: 1 })).reply;
    },
  },
  {
    id: 'msi-vector',
    title: 'interrupt vector of somebody else',
    requirement: 'R10',
    expected: { raw: 'corrupted', mediated: [refused('unknownVector')] },
    raw: forgeInterrupt,
    mediated: async (world) => {
      const { attacker, lease, vectors } = await world.foothold();
      return (await attacker.ask('bindVector', { lease, vector: vectors, enable: true })).reply;
    },
  },
  {
    id: 'peer-to-peer',
    title: 'DMA to where interrupt messages go',
    requirement: 'R31',
    expected: { raw: 'corrupted', mediated: [refused('offsetOutsideRegion')] },
    raw: forgeInterrupt,
    mediated: async (world) => (await world.foothold()).request({ offset: INTERRUPT_ADDRESS }),
  },
  {
    id: 'dma-to-registers',
    title: 'DMA to the registers of the controller',
    requirement: 'R31',
    // QEMU's model refuses DMA to its own registers, which hardware does not.
    expected: { raw: { emulated: 'stalled', qemu: 'not-applicable' }, mediated: [refused('offsetOutsideRegion')] },
    raw: writeRegistersByDma,
    mediated: async (world) => (await world.foothold()).request({ offset: BAR_ADDRESS }),
  },
  {
    id: 'queue-address',
    title: "queue placed in somebody else's memory",
    requirement: 'R02',
    expected: { raw: 'corrupted', mediated: [faulted('unknownField')] },
    raw: queueInOthersMemory,
    mediated: async (world) => {
      const { attacker, lease } = await world.foothold();
      return (await attacker.ask('openQueue', { lease, entries: 32, address: 0x1_0000_0000 })).reply;
    },
  },
  {
    id: 'doorbell-beyond',
    title: 'doorbell beyond what was written to the ring',
    requirement: 'R07',
    expected: { raw: 'corrupted', mediated: [refused('ringFull')] },
    raw: ringBeyond,
    mediated: async (world) => {
      const foothold = await world.foothold();
      return (await foothold.batch(Array.from({ length: 2 * QUEUE_ENTRIES }, () => foothold.entry())))[0];
    },
  },
  {
    id: 'admin-opcode',
    title: "administrative command: delete somebody's queue",
    requirement: 'R08',
    expected: { raw: 'stalled', mediated: [refused('unknownOperation')] },
    raw: deleteOthersQueue,
    mediated: async (world) => (await world.foothold()).request({ operation: 0x80, blocks: 0, region: 0 }),
  },
  {
    id: 'all-opcodes',
    title: 'every operation that there is not',
    requirement: 'R08',
    expected: { raw: 'stalled', mediated: [refused('unknownOperation')] },
    raw: deleteOthersQueue,
    mediated: tryAllOperations,
  },
  {
    id: 'reserved-bits',
    title: 'reserved bits of an entry',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('reservedBits')] },
    raw: notApplicable('what the device makes of reserved bits is its own affair'),
    mediated: async (world) => {
      const foothold = await world.foothold();
      const entry = foothold.entry();
      const words = new Uint32Array(ENTRY_WORDS);
      packEntry(words, 0, entry);
      words[EntryWord.reserved + 2] = 1;
      return (await foothold.submit(words, [entry.tag]))[0];
    },
  },
  {
    id: 'unknown-flags',
    title: 'flags that there are not',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('unknownFlag')] },
    raw: notApplicable('what the device makes of reserved bits is its own affair'),
    mediated: async (world) => (await world.foothold()).request({ flags: 0x80 }),
  },
  {
    id: 'reset-others',
    title: "reset of somebody else's lease",
    requirement: 'R21',
    expected: { raw: 'stalled', mediated: [refused('unknownLease')] },
    raw: resetController,
    mediated: async (world) => (await (await world.foothold()).attacker.ask('resetLease', { lease: world.bob.device.lease })).reply,
  },
  {
    id: 'reset-storm',
    title: 'own resets, over and over, to hurt others',
    requirement: 'R21',
    expected: { raw: 'stalled', mediated: [harmless] },
    raw: resetController,
    mediated: resetOverAndOver,
  },
  {
    id: 'exclusive',
    title: 'the whole device for oneself',
    requirement: 'R22',
    expected: { raw: 'not-applicable', mediated: [refused('notInGrant')] },
    raw: notApplicable('whoever has the registers has the device'),
    mediated: async (world) => {
      const attacker = await world.session();
      await attacker.must('setDomain');
      return (await attacker.ask('openDevice', { device: DEVICE, mode: 'exclusive', queues: 'own' })).reply;
    },
  },
  {
    id: 'crash-controller',
    title: 'controller registers written by a client',
    requirement: 'R25',
    expected: { raw: 'crashed', mediated: [faulted('unknownMessage')] },
    raw: pointQueuesNowhere,
    mediated: async (world) => (await (await world.session()).ask('writeRegister', { device: DEVICE, offset: 0x14, value: 0 })).reply,
  },
  {
    id: 'admin-log',
    title: 'error log and health of the device',
    requirement: 'R08',
    expected: { raw: 'not-applicable', mediated: [faulted('unknownMessage')] },
    raw: notApplicable('any program may read any log'),
    mediated: async (world) => (await (await world.session()).ask('logPage', { device: DEVICE, page: 'error' })).reply,
  },
  {
    id: 'hoard-queues',
    title: 'all hardware queues for oneself',
    requirement: 'R34',
    expected: { raw: 'not-applicable', mediated: [refused('leaseLimit'), refused('noFreeQueue'), refused('queueLimit')] },
    raw: notApplicable('whoever has the registers has all queues'),
    mediated: hoardQueues,
  },
  {
    id: 'hoard-sessions',
    title: 'all connections for oneself',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [faulted('sessionLimit')] },
    raw: notApplicable('there are no connections'),
    mediated: hoardSessions,
  },
  {
    id: 'hoard-memory',
    title: 'all memory for oneself',
    requirement: 'R27',
    expected: { raw: 'not-applicable', mediated: [refused('pinLimit')] },
    raw: notApplicable('nobody counts what a program pins'),
    mediated: hoardMemory,
  },
];

/** All 250 codes that are no operation, in one go. */
async function tryAllOperations(world: MediatedWorld): Promise<Reply> {
  const foothold = await world.foothold();
  const known = new Set<number>(Object.values(Operation));
  const unknown = Array.from({ length: 256 }, (_, operation) => operation).filter((operation) => !known.has(operation));
  const replies = await foothold.batch(unknown.map((operation) => foothold.entry({ operation, blocks: 0, region: 0 })));
  return replies.find(({ code }) => code !== 'unknownOperation') ?? replies[0];
}

async function resetOverAndOver(world: MediatedWorld): Promise<Reply> {
  // One with a hardware queue of its own, one on the queue that bob uses, too.
  const footholds = [await world.foothold({ queues: 'own' }), await world.foothold({ queues: 'shared' })];
  for (let count = 0; count < RESETS; count++) {
    const foothold = footholds[count % 2];
    const requests = foothold.batch(Array.from({ length: 32 }, () => foothold.entry({ blocks: 128 })));
    const { generation } = await foothold.attacker.must('resetLease', { lease: foothold.lease });
    foothold.generation = Number(generation);
    await requests;
  }
  const replies = await Promise.all(footholds.map((foothold) => foothold.request()));
  return replies.find(({ outcome }) => outcome !== 'harmless') ?? harmless;
}

/** Leases with queue pairs of their own, until there are no more to be had. */
async function hoardQueues(world: MediatedWorld): Promise<Reply> {
  for (let sessions = 0; sessions < 4; sessions++) {
    const attacker = await world.session();
    await attacker.must('setDomain');
    for (let leases = 0; leases < OPEN_QUEUES; leases++) {
      const opened = await attacker.ask('openDevice', { device: DEVICE, mode: 'shared', queues: 'own' });
      if (opened.reply.outcome !== 'harmless') return opened.reply;
      const queue = await attacker.ask('openQueue', { lease: opened.answer['lease'], entries: 64 });
      if (queue.reply.outcome !== 'harmless') return queue.reply;
    }
  }
  return harmless;
}

async function hoardSessions(world: MediatedWorld): Promise<Reply> {
  for (let count = 0; count < MALLORYS_SESSIONS; count++) await world.session();
  return (await (await world.connect()).hello('mallory', world.server.tokens.mallory)).reply;
}

async function hoardMemory(world: MediatedWorld): Promise<Reply> {
  const attacker = await world.session();
  await attacker.must('setDomain');
  for (let count = 0; count < 64; count++) {
    const { reply } = await attacker.ask('mapMemory', { bytes: 4 * MIB });
    if (reply.outcome !== 'harmless') return reply;
  }
  return harmless;
}
