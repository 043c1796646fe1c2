/** Attacks on the memory that is handed over and on how it is: files, seals, tickets, descriptors. */
import { randomBytes } from 'node:crypto';
import { fchmodSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Seal, shm } from '../../../native/shm.js';
import { TICKET_BYTES } from '../../../protocol/index.js';
import { type Foothold, REGION_BYTES } from '../mediated/foothold.js';
import type { Rings, Ticket } from '../mediated/shared-memory.js';
import type { MediatedWorld } from '../mediated/world.js';
import { forgeCompletion } from '../raw/control-damage.js';
import { type Attack, type Reply, harmless, isOtherRefusal, notApplicable, refused } from '../types.js';
import { ringAnswers } from './rings.js';

const GUESSES = 200;
const FLOODED_CONNECTIONS = 24;
/** As many as one message carries. */
const FLOODED_DESCRIPTORS = 16;
const FLOODS = 200;
/** By how much the server's table of descriptors may grow with what else it does; it doubles. */
const SLACK = 512;
const noFiles = notApplicable('memory is mapped, and no file stands behind it');
const noTickets = notApplicable('nothing is handed over');

export const handoverAttacks: readonly Attack[] = [
  {
    id: 'completion-write',
    title: 'completions written by their reader',
    requirement: 'R05',
    expected: { raw: 'corrupted', mediated: [refused('EPERM')] },
    raw: forgeCompletion,
    mediated: withRings(async (_, { completions }, memory) => {
      const direct = attempt(() => memory.map(completions, 4_096, true));
      if (direct.code !== 'EACCES') return direct;
      const again = reopen(completions, memory);
      const tried = [attempt(() => writeSync(again, Buffer.of(1), 0, 1, 0)), attempt(() => memory.map(again, 4_096, true))];
      return tried.find(({ code }) => code !== 'EPERM') ?? tried[0];
    }),
  },
  {
    id: 'hardware-ring',
    title: "the hardware's rings written by who may see them",
    requirement: 'R05',
    expected: { raw: 'corrupted', mediated: [refused('EPERM')] },
    raw: forgeCompletion,
    mediated: writeHardwareRings,
  },
  {
    id: 're-seal',
    title: 'seals of its own on what it was given',
    requirement: 'R39',
    expected: { raw: 'not-applicable', mediated: [refused('EPERM')] },
    raw: noFiles,
    mediated: withRings(async (foothold, { requests, completions }, memory) => {
      const region = await mapRegion(foothold, memory);
      const files = [requests, completions, reopen(completions, memory), region];
      const tried = files.flatMap((fd) => [Seal.write, Seal.shrink, Seal.seal].map((seal) => attempt(() => shm().addSeals(fd, seal))));
      return tried.find(({ code }) => code !== 'EPERM') ?? tried[0];
    }),
  },
  {
    id: 'truncate',
    title: 'files made shorter or longer under the server',
    requirement: 'R39',
    expected: { raw: 'not-applicable', mediated: [refused('EPERM')] },
    raw: noFiles,
    mediated: withRings(async (foothold, { requests, completions }, memory) => {
      const early: Reply[] = [];
      const region = await mapRegion(foothold, memory, (fd) => early.push(...resize(fd)));
      const tried = [...early, ...[requests, reopen(completions, memory), region].flatMap(resize)];
      return tried.find(({ code }) => code !== 'EPERM') ?? tried[0];
    }),
  },
  {
    id: 'map-sealed',
    title: 'memory mapped for writing after it was sealed',
    requirement: 'R39',
    expected: { raw: 'not-applicable', mediated: [refused('EPERM')] },
    raw: noFiles,
    mediated: withRings(async (foothold, _, memory) => {
      const region = await mapRegion(foothold, memory);
      const tried = [attempt(() => memory.map(region, REGION_BYTES, true)), attempt(() => memory.map(reopen(region, memory), REGION_BYTES, true))];
      return tried.find(({ code }) => code !== 'EPERM') ?? tried[0];
    }),
  },
  {
    id: 'ticket-guess',
    title: 'tickets that nobody gave out',
    requirement: 'R29',
    expected: { raw: 'not-applicable', mediated: [refused('noSuchTicket')] },
    raw: noTickets,
    mediated: guessTickets,
  },
  {
    id: 'ticket-twice',
    title: 'ticket used a second time',
    requirement: 'R29',
    expected: { raw: 'not-applicable', mediated: [refused('noSuchTicket')] },
    raw: noTickets,
    mediated: withRings(async (foothold, { queue, ticket }, memory) => {
      const again = await foothold.attacker.ask('shareQueue', { lease: foothold.lease, queue });
      return again.reply.code === 'notFresh' ? (await memory.fetch(ticket)).reply : again.reply;
    }),
  },
  {
    id: 'ticket-hoard',
    title: 'tickets without end',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [refused('ticketLimit')] },
    raw: noTickets,
    mediated: async (world) => {
      const { attacker, region } = await world.foothold();
      const told = await Promise.all(Array.from({ length: 64 }, () => attacker.ask('shareRegion', { region })));
      return told[told.length - 1].reply;
    },
  },
  {
    id: 'descriptor-flood',
    title: 'descriptors and connections pushed at the server',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: noTickets,
    mediated: floodDescriptors,
  },
];

type Memory = MediatedWorld['memory'];

/** With rings in the attacker's hands, which must still work afterwards. */
function withRings(attack: (foothold: Foothold, rings: Rings, memory: Memory) => Promise<Reply>): (world: MediatedWorld) => Promise<Reply> {
  return async (world) => {
    const foothold = await world.foothold();
    const rings = await world.memory.rings(foothold);
    const reply = await attack(foothold, rings, world.memory);
    if (!(await ringAnswers(foothold, rings))) throw new Error('the ring no longer works');
    return reply;
  };
}

/** What the kernel says to it: done, or refused. */
function attempt(call: () => unknown): Reply {
  try {
    call();
    return harmless;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!isOtherRefusal(code)) throw error;
    return { outcome: 'refused', code };
  }
}

const resize = (fd: number): Reply[] => [0, 4_096 * 4_096].map((bytes) => attempt(() => ftruncateSync(fd, bytes)));

/** The file of a descriptor once more, for writing: its owner can, and here the attacker runs as the server's own user. */
function reopen(fd: number, memory: Memory): number {
  fchmodSync(fd, 0o666);
  return memory.keep(openSync(`/proc/self/fd/${fd}`, 'r+'));
}

/** The foothold's region, mapped and sealed as the protocol has it. `early` is given its descriptor before it is sealed. */
async function mapRegion({ attacker, region }: Foothold, memory: Memory, early: (fd: number) => void = () => undefined): Promise<number> {
  const ticket = (await attacker.must('shareRegion', { region })) as unknown as Ticket;
  const { reply, descriptors } = await memory.fetch(ticket);
  if (reply.outcome !== 'harmless') throw new Error(`the ticket of a region was refused: ${reply.code}`);
  const [fd] = descriptors;
  memory.map(fd, REGION_BYTES, true);
  early(fd);
  await attacker.must('sealRegion', { region });
  return fd;
}

/** Both rings of its own queue pair: neither can be written, resized or sealed, and what is there afterwards is what the hardware and the server wrote. */
async function writeHardwareRings(world: MediatedWorld): Promise<Reply> {
  const { memory } = world;
  const foothold = await world.foothold({ queues: 'own', ringViews: true });
  const ticket = (await foothold.attacker.must('viewQueue', { lease: foothold.lease, queue: foothold.queue })) as unknown as Ticket;
  const { reply, descriptors } = await memory.fetch(ticket);
  if (reply.outcome !== 'harmless') throw new Error(`the ticket of a view was refused: ${reply.code}`);
  const replies: Reply[] = [];
  for (const fd of descriptors) {
    const direct = attempt(() => memory.map(fd, 4_096, true));
    if (direct.code !== 'EACCES') return direct;
    memory.map(fd, 4_096, false);
    const again = reopen(fd, memory);
    const ways = [() => memory.map(again, 4_096, true), () => writeSync(again, Buffer.of(1), 0, 1, 0), () => shm().addSeals(again, Seal.write)];
    replies.push(...ways.map(attempt), ...resize(again));
  }
  const { outcome } = await foothold.request();
  if (outcome !== 'harmless') throw new Error('the queue no longer works');
  return replies.find(({ code }) => code !== 'EPERM') ?? replies[0];
}

/** Random ones, and each that differs from a good one in a single bit. All must be refused for the same reason, and the good one still serve. */
async function guessTickets(world: MediatedWorld): Promise<Reply> {
  const { attacker, region } = await world.foothold();
  const good = (await attacker.must('shareRegion', { region })) as unknown as Ticket;
  const near = Array.from({ length: TICKET_BYTES * 8 }, (_, bit) => {
    const ticket = Uint8Array.from(good.ticket);
    ticket[bit >> 3] ^= 1 << (bit & 7);
    return ticket;
  });
  const replies: Reply[] = [];
  for (const ticket of [...near, ...Array.from({ length: GUESSES }, () => randomBytes(TICKET_BYTES))]) {
    const { reply, connection } = await world.memory.fetch({ ticket, path: good.path });
    world.memory.close(connection);
    replies.push(reply);
  }
  const { reply } = await world.memory.fetch(good);
  if (reply.outcome !== 'harmless') throw new Error('the good ticket no longer serves');
  return replies.find(({ code }) => code !== 'noSuchTicket') ?? replies[0];
}

/** Sends descriptors where none are expected, and holds connections open: the server keeps none of the first, and does not wait for the others. */
async function floodDescriptors(world: MediatedWorld): Promise<Reply> {
  const { memory, server } = world;
  const foothold = await world.foothold();
  const rings = await memory.rings(foothold);
  const before = server.descriptorTable();
  const sent = Array.from({ length: FLOODED_DESCRIPTORS }, () => rings.requests);
  const connections: number[] = [];
  for (let count = 0; count < FLOODED_CONNECTIONS; count++) {
    const connection = await memory.connect(rings.ticket.path);
    attempt(() => shm().sendDescriptors(connection, new Uint8Array(TICKET_BYTES - 1), sent));
    connections.push(connection);
  }
  for (let flood = 0; flood < FLOODS; flood++) {
    // Linux from 6.16 on refuses for the server what it does not want to be sent.
    attempt(() => shm().sendDescriptors(rings.ring.doorbell, Buffer.of(1), sent));
    if (flood % 8 === 0) await delay(1);
  }
  const grown = server.descriptorTable() - before;
  if (!(grown <= SLACK)) throw new Error(`the server has room for ${grown} descriptors more than before`);
  if (!(await ringAnswers(foothold, rings))) throw new Error('the ring no longer works');
  for (const connection of connections) memory.close(connection);
  return harmless;
}
