/** Attacks on the server itself, with messages that are none. With raw access there is no server: nothing stands between program and device. */
import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Packr } from 'msgpackr';
import { EntryFlag, MAX_MESSAGE_BYTES, Operation } from '../../../protocol/index.js';
import type { Attacker } from '../mediated/attacker.js';
import type { MediatedWorld } from '../mediated/world.js';
import { type Attack, type Reply, faulted, harmless, notApplicable, refused } from '../types.js';

const MIB = 2 ** 20;
const noMessages = notApplicable('there are no messages: registers and memory are mapped');

/** Sends bytes, and waits for the end of the session. */
const sendBytes =
  (bytes: () => Uint8Array | string) =>
  async (world: MediatedWorld): Promise<Reply> => {
    const attacker = await world.session();
    attacker.sendBytes(bytes());
    return attacker.fault();
  };

/** A map with one entry whose value is the bytes given. */
const mapOf = (key: string, ...value: number[]): Uint8Array =>
  Buffer.concat([Buffer.of(0x81, 0xa0 | key.length), Buffer.from(key), Buffer.from(value)]);

export const wireAttacks: readonly Attack[] = [
  {
    id: 'odd-numbers',
    title: 'NaN, infinities, fractions, 2^53, 2^64',
    requirement: 'R16',
    expected: { raw: 'not-applicable', mediated: [refused('outOfRange')] },
    raw: noMessages,
    mediated: tryOddNumbers,
  },
  {
    id: 'huge-lengths',
    title: 'lengths far beyond any memory',
    requirement: 'R16',
    expected: { raw: 'not-applicable', mediated: [refused('rangeOutsideRegion')] },
    raw: noMessages,
    mediated: async (world) => {
      const { attacker, region } = await world.foothold();
      const bytes = await attacker.ask('mapMemory', { bytes: 2 ** 40 });
      const length = await attacker.ask('readMemory', { region, offset: 0, length: 2 ** 40 });
      for (const { reply } of [bytes, length]) if (reply.code !== 'outOfRange') return reply;
      return (await attacker.ask('readMemory', { region, offset: 2 ** 31, length: 2 * MIB })).reply;
    },
  },
  {
    id: 'memory-window',
    title: 'memory read and written beyond its region',
    requirement: 'R16',
    expected: { raw: 'not-applicable', mediated: [refused('rangeOutsideRegion')] },
    raw: noMessages,
    mediated: async (world) => {
      const { attacker, region } = await world.foothold();
      const { reply } = await attacker.ask('writeMemory', { region, offset: 65_536 - 8, data: Buffer.alloc(16, 0xa5) });
      return reply.code === 'rangeOutsideRegion' ? (await attacker.ask('readMemory', { region, offset: 65_535, length: 2 })).reply : reply;
    },
  },
  {
    id: 'other-memory',
    title: "somebody else's memory read by message",
    requirement: 'R30',
    expected: { raw: 'not-applicable', mediated: [refused('unknownRegion')] },
    raw: noMessages,
    mediated: async (world) =>
      (await (await world.foothold()).attacker.ask('readMemory', { region: world.alice.regions[0].region, offset: 0, length: 64 })).reply,
  },
  {
    id: 'inline-lies',
    title: 'data that are shorter than their entries say',
    requirement: 'R04',
    expected: { raw: 'not-applicable', mediated: [refused('inlineLength')] },
    raw: noMessages,
    mediated: async (world) => {
      const foothold = await world.foothold();
      const inline = { operation: Operation.write, flags: EntryFlag.inline, region: 0 };
      return foothold.request(inline, Buffer.alloc(16));
    },
  },
  {
    id: 'oversized',
    title: 'message above the limit',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('messageTooLarge')] },
    raw: noMessages,
    mediated: sendBytes(() => Buffer.alloc(MAX_MESSAGE_BYTES + 1, 0x80)),
  },
  {
    id: 'malformed',
    title: 'bytes that are no message',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('malformed')] },
    raw: noMessages,
    mediated: sendBytes(() => Buffer.concat([Buffer.of(0xc1), randomBytes(64)])),
  },
  {
    id: 'text-frame',
    title: 'text in place of binary',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('malformed')] },
    raw: noMessages,
    mediated: sendBytes(() => '{"type":"ping","id":1}'),
  },
  {
    id: 'extension-type',
    title: 'extension types, which make objects of bytes',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('malformed')] },
    raw: noMessages,
    mediated: sendBytes(() => mapOf('type', 0xc7, 0x01, 0x65, 0x00)),
  },
  {
    id: 'length-bomb',
    title: 'array of four thousand million items',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('malformed')] },
    raw: noMessages,
    mediated: sendBytes(() => mapOf('type', 0xdd, 0xff, 0xff, 0xff, 0xff)),
  },
  {
    id: 'deep-nesting',
    title: 'a hundred thousand maps inside each other',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('malformed')] },
    raw: noMessages,
    mediated: sendBytes(() => Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.of(0x81, 0xa1, 0x61)))),
  },
  {
    id: 'prototype',
    title: 'fields named __proto__ and constructor',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [faulted('unknownField')] },
    raw: noMessages,
    mediated: sendBytes(() => {
      const text = (value: string): Buffer => Buffer.concat([Buffer.of(0xa0 | value.length), Buffer.from(value)]);
      const fields = [text('type'), text('ping'), text('id'), Buffer.of(50), text('__proto__'), Buffer.of(0x81), text('a'), Buffer.of(1)];
      return Buffer.concat([Buffer.of(0x83), ...fields]);
    }),
  },
  {
    id: 'fake-completion',
    title: 'message that only the server may send',
    requirement: 'R05',
    expected: { raw: 'not-applicable', mediated: [faulted('unknownMessage')] },
    raw: noMessages,
    mediated: async (world) => {
      const { lease, queue } = world.alice.device;
      return (await (await world.session()).ask('completions', { lease, queue: queue.queue, entries: Buffer.alloc(32) })).reply;
    },
  },
  {
    id: 'flood',
    title: 'twenty thousand messages at once',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [faulted('tooManyMessages')] },
    raw: noMessages,
    mediated: async (world) => {
      const attacker = await world.session();
      for (let id = 2; id < 20_002; id++) attacker.send({ type: 'ping', id });
      return attacker.fault();
    },
  },
  {
    id: 'slow-reader',
    title: 'a client that asks and never reads',
    requirement: 'R37',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: noMessages,
    mediated: neverRead,
  },
  {
    id: 'fuzz',
    title: 'random changes to good messages',
    requirement: 'R40',
    expected: { raw: 'not-applicable', mediated: [harmless] },
    raw: noMessages,
    mediated: sendMutations,
  },
];

/** Every number that is none, in every field that takes one. All must be refused for the same reason. */
async function tryOddNumbers(world: MediatedWorld): Promise<Reply> {
  const { attacker, lease, region } = await world.foothold();
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0.5, -1, 2 ** 53, 2 ** 64, 1e308, 4_294_967_296.5];
  const replies: Reply[] = [];
  for (const value of odd) {
    const asked = [
      attacker.ask('mapMemory', { bytes: value }),
      attacker.ask('readMemory', { region, offset: value, length: 64 }),
      attacker.ask('openQueue', { lease, entries: value }),
      attacker.ask('closeDevice', { lease: value }),
    ];
    for (const { reply } of await Promise.all(asked)) replies.push(reply);
  }
  return replies.find(({ code }) => code !== 'outOfRange') ?? replies[0];
}

/** Asks for 256 MiB in small pieces and reads none of it: the server's memory must not grow by it. */
async function neverRead(world: MediatedWorld): Promise<Reply> {
  const { attacker, region } = await world.foothold();
  const before = world.server.residentBytes();
  attacker.socket.pause();
  for (let id = 100; id < 4_196; id++) attacker.send({ type: 'readMemory', id, region, offset: 0, length: 65_536 });
  let most = before;
  for (let look = 0; look < 20; look++) {
    await delay(20);
    most = Math.max(most, world.server.residentBytes());
  }
  attacker.terminate();
  if (most - before > 64 * MIB) throw new Error(`the server grew by ${Math.round((most - before) / MIB)} MiB`);
  return harmless;
}

/** Good messages with a few bytes changed. Each may be anything: an answer, a refusal, a fault. The server must live, and nobody else notice. */
async function sendMutations(world: MediatedWorld): Promise<Reply> {
  const packr = new Packr({ useRecords: false });
  let attacker: Attacker | undefined;
  for (let round = 0; round < 400; round++) {
    if (attacker?.isOpen !== true) attacker = (await world.foothold()).attacker;
    const messages = [
      { type: 'mapMemory', id: 100 + round, bytes: 4_096 },
      { type: 'readMemory', id: 100 + round, region: randomInt(0, 2 ** 20), offset: 0, length: 64 },
      { type: 'submit', lease: 1, queue: 0, entries: randomBytes(128) },
      { type: 'setDomain', id: 100 + round, domain: round },
      { type: 'resetLease', id: 100 + round, lease: round },
    ];
    const bytes = Buffer.from(packr.pack(messages[round % messages.length]));
    for (let change = randomInt(0, 4); change > 0; change--) bytes[randomInt(0, bytes.length)] = randomInt(0, 256);
    attacker.sendBytes(bytes);
    if (round % 8 === 0) await delay(1);
  }
  return harmless;
}
