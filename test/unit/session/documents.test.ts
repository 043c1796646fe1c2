/** `docs/protocol.md` and `docs/asyncapi.json` against the server. */
import { readFileSync } from 'node:fs';
import { Unpackr } from 'msgpackr';
import { afterEach, describe, expect, it } from 'vitest';
import {
  CODES,
  COMPLETION_BYTES,
  ENTRY_BYTES,
  Field,
  MAX_BATCH,
  MAX_MESSAGE_BYTES,
  OPERATIONS,
  RING_HEADER_BYTES,
  RING_VERSION,
  SUBPROTOCOL,
} from '../../../src/protocol/index.js';
import { MAX_DATA_BYTES } from '../../../src/server/wire/index.js';
import { fetchDescriptors, release } from '../../support/handover.js';
import { EXAMPLES, REQUEST_TYPES } from '../wire/examples.js';
import { asyncApi, mismatch } from '../wire/schema.js';
import { type Message, World, entries, submit, until } from './world.js';

const text = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8');
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

let world: World;
afterEach(() => world.end());

/** Bytes of a block of hexadecimal digits; `2a * 512` stands for 512 of them. */
function bytesOf(block: string): Buffer {
  const digits = block.replace(/([0-9a-f]{2}) \* (\d+)/g, (_all, byte: string, count: string) => byte.repeat(Number(count)));
  return Buffer.from(digits.replaceAll(/\s/g, ''), 'hex');
}

describe('protocol.md', () => {
  it('has the worked example right, byte for byte', async () => {
    world = await World.create();
    const client = await world.connect();
    const raw: Buffer[] = [];
    client.socket.on('message', (data: Buffer) => raw.push(data));
    const blocks = [...text.matchAll(/```hex (client|server)\n([^`]*)```/g)].map(([, side, block]) => ({ side, bytes: bytesOf(block) }));
    expect(blocks.length).toBeGreaterThan(16);
    for (const { side, bytes } of blocks) {
      if (side === 'client') {
        client.sendBytes(bytes);
        continue;
      }
      await until(() => raw.length > 0);
      const received = raw.shift() as Buffer;
      expect(unpackr.unpack(bytes)).toEqual(unpackr.unpack(received));
      expect(bytes.toString('hex')).toBe(received.toString('hex'));
    }
    expect(raw).toEqual([]);
  });

  it('has the table of codes', async () => {
    world = await World.create();
    const rows = Object.entries(CODES)
      .toSorted(([, a], [, b]) => a.code - b.code)
      .map(([name, { code, severity, field, reason, remedy }]) => {
        return `| ${code} | \`${name}\` | ${severity} | ${field === '' ? '' : `\`${field}\``} | ${reason} | ${remedy} |`;
      });
    const table = text.slice(text.indexOf('| code | name | severity |')).trimEnd().split('\n').slice(2);
    expect(table).toEqual(rows);
  });

  it('has the numbers of the code', async () => {
    world = await World.create();
    for (const number of [MAX_MESSAGE_BYTES, MAX_DATA_BYTES, MAX_BATCH, RING_HEADER_BYTES]) expect(text).toContain(String(number));
    expect(text).toContain(`\`${SUBPROTOCOL}\``);
    expect(text).toContain(`\`ringVersion\` ${RING_VERSION}`);
    expect(text).toContain(`### Request entry\n\n${ENTRY_BYTES} bytes.`);
    expect(text).toContain(`### Completion\n\n${COMPLETION_BYTES} bytes.`);
    OPERATIONS.forEach(({ name }, code) => {
      if (name !== 'none') expect(text).toContain(`| ${code} | ${name} |`);
    });
    for (const [name, number] of Object.entries(Field)) if (number > 0) expect(text).toMatch(new RegExp(`[:,] ${number} ${name}[,;]`));
    const table = text.slice(text.indexOf('| type | fields | answer |')).split('\n');
    for (const type of REQUEST_TYPES) {
      const row = table.find((line) => line.startsWith(`| \`${type}\` |`));
      for (const name of Object.keys(EXAMPLES[type])) expect(row).toContain(`\`${name}\``);
    }
  });
});

describe('asyncapi.json', () => {
  /** Name of the message in the document. */
  const nameOf = (message: Message, asked: ReadonlyMap<number, string>): string => {
    if (message.type === 'answer') return `${asked.get(message['id'] as number)}Answer`;
    return message.type === 'event' ? `${String(message['event'])}Event` : message.type;
  };

  it('knows everything that the server says', async () => {
    world = await World.create();
    const client = await world.connect();
    const asked = new Map<number, string>();
    const seen = new Map<string, number>();
    client.socket.on('message', (data: Buffer) => {
      const message = unpackr.unpack(data) as Message;
      const name = nameOf(message, asked);
      const documented = asyncApi.components.messages[name];
      const wrong = documented === undefined ? 'not documented' : mismatch(documented.payload, message);
      if (wrong !== undefined) throw new Error(`${name}: ${wrong}`);
      seen.set(name, (seen.get(name) ?? 0) + 1);
    });
    const call = async (type: string, fields: Record<string, unknown> = {}): Promise<Message> => {
      const id = client.ask(type, fields);
      asked.set(id, type);
      return client.answer(id);
    };
    await call('hello', { version: 1, tenant: 'alice' });
    await call('listDevices');
    await call('deviceState', { device: 'nvme0', wait: true });
    const { domain } = await call('setDomain');
    const { lease, generation } = await call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own', ringViews: true });
    const { queue } = await call('openQueue', { lease, entries: 64 });
    const ready = Object.assign(client, {
      lease: lease as number,
      generation: generation as number,
      queue: queue as number,
      domain: domain as number,
    });
    const { region } = await call('mapMemory', { bytes: 4_096 });
    await call('writeMemory', { region, offset: 0, data: Buffer.alloc(8) });
    await call('readMemory', { region, offset: 0, length: 8 });
    await call('bindVector', { lease, vector: 0, enable: true });
    submit(ready, entries(ready, {}, { tag: 1n }));
    await client.completions(2);
    submit(ready, entries(ready, { region: 1 }));
    await client.error();
    const { engine } = world;
    engine.emit('interrupt', ready.lease, 0, 2);
    engine.emit('namespaceChanged', ready.lease, 0);
    engine.emit('reset', ready.lease, 8, 'a reason');
    engine.emit('deviceLost', 'a reason');
    engine.emit('deviceRestored', [{ lease: ready.lease, generation: 9 }]);
    const offered = await call('shareRegion', { region });
    const fetched = await fetchDescriptors(offered['path'] as string, offered['ticket'] as Uint8Array);
    await call('sealRegion', { region });
    release(fetched);
    const shared = await call('openQueue', { lease, entries: 64 });
    await call('shareQueue', { lease, queue: shared['queue'] });
    await call('viewQueue', { lease, queue });
    const bound = await call('bindEventfd', { lease, vector: 1, source: 'server' });
    release(await fetchDescriptors(bound['path'] as string, bound['ticket'] as Uint8Array));
    await call('vectorState', { lease, vector: 1 });
    await call('unbindEventfd', { lease, vector: 1 });
    await call('readPciConfig', { lease, offset: 0, width: 4 });
    await call('writePciConfig', { lease, offset: 4, width: 2, value: 6 });
    await call('listPciRegions', { lease });
    await call('readPciRegister', { lease, bar: 0, offset: 8, width: 4 });
    await call('readPciRom', { lease, offset: 0, length: 3 });
    await call('resetLease', { lease });
    await call('unmapMemory', { region });
    await call('closeQueue', { lease, queue });
    await call('listDevices');
    await call('closeDevice', { lease });
    await client.event('holderGone');
    const other = await call('openDevice', { device: 'nvme0', mode: 'exclusive', queues: 'shared' });
    engine.emit('revoked', other['lease'] as number, 'a reason');
    await client.event('revoked');
    await call('unsetDomain');
    await call('ping');
    const drain = world.sessions.drain(10);
    await client.event('draining');
    await drain;
    const fromServer = Object.keys(asyncApi.components.messages).filter(
      (name) => /Answer$|Event$/.test(name) || name === 'completions' || name === 'error',
    );
    expect([...seen.keys()].toSorted()).toEqual(fromServer.toSorted());
  });
});
