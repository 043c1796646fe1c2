import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { CommanderError } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { streamSink, streamSource } from '../../../src/cli/copy/files.js';
import { formatBytes } from '../../../src/cli/copy/format.js';
import { checkForms, parseBytes, planOf } from '../../../src/cli/copy/location.js';
import { readShare, writeShare } from '../../../src/cli/copy/transfer.js';
import { copyCommand } from '../../../src/cli/copy.js';
import { CliError } from '../../../src/cli/failure.js';
import { connect, type DeviceInfo } from '../../../src/client/index.js';
import { Code, Operation } from '../../../src/protocol/index.js';
import { ScriptedServer, share, type Submitted } from '../../support/scripted-server.js';
import { bytes, errorOf, until } from '../../support/settled.js';

const MIB = 1_048_576;
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

let directory: string;
let server: ScriptedServer;
let printed: string;
let told: string;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rw-copy-'));
  server = await ScriptedServer.start({ shares: [share(0, 'data', 8 * 256, 4_096)], limits: { stagingBytes: MIB } });
  printed = '';
  told = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    told += String(text);
    return true;
  });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

const file = (name: string, data?: Uint8Array): string => {
  const path = join(directory, name);
  if (data !== undefined) writeFileSync(path, data);
  return path;
};

async function copy(...args: string[]): Promise<void> {
  const command = copyCommand().exitOverride();
  await command.parseAsync(['--socket', server.path, '--tenant', 'alice', ...args], { from: 'user' });
}

describe('copy', () => {
  it('puts a file into a share and gets it back, with a checksum and a comparison', async () => {
    const data = bytes(3 * MIB + 8_192, 5);
    await copy(file('in', data), 'nvme0/data@1MiB', '--verify');
    expect(server.blocks[0].subarray(MIB, MIB + data.length).equals(data)).toBe(true);
    expect(printed).toContain(`${data.length} bytes (3.0 MiB)`);
    expect(printed).toContain(`sha256 ${sha256(data)}, read back and equal`);
    printed = '';
    await copy('nvme0/data@1024k', file('out'), '--length', String(data.length), '--verify', '-o', 'json');
    expect(readFileSync(file('out')).equals(data)).toBe(true);
    const report = JSON.parse(printed) as Record<string, unknown>;
    expect(report).toMatchObject({ from: 'nvme0/data@1024k', to: file('out'), bytes: data.length, sha256: sha256(data), verified: true });
    expect(server.messages('hello').map(({ tenant }) => tenant)).toEqual(['alice', 'alice']);
    expect(server.messages('closeDevice').length).toBe(2);
  });

  it('has many requests in flight, and flushes at the end', async () => {
    // Nothing is answered until four requests are there at the same time: as many as the staging memory of 1 MiB holds.
    const held: Submitted[] = [];
    const operations: number[] = [];
    server.onSubmit = (submitted, connection) => {
      held.push(submitted);
      operations.push(...submitted.entries.map(({ operation }) => operation));
      const isFlush = operations[operations.length - 1] === Operation.flush;
      if (!isFlush && held.reduce((sum, { entries }) => sum + entries.length, 0) < 4) return;
      for (const each of held.splice(0)) connection.complete(each);
    };
    await copy(file('in', bytes(4 * MIB)), 'nvme0/data', '--depth', '8');
    expect(operations.length).toBe(17);
    expect(operations[16]).toBe(Operation.flush);
  });

  it('keeps what stands behind the end of the data in the last block', async () => {
    server.blocks[0].fill(0x5a);
    const data = bytes(5_000);
    await copy(file('in', data), 'nvme0/data@4k', '--verify');
    expect(server.blocks[0].subarray(4_096, 9_096).equals(data)).toBe(true);
    expect(server.blocks[0].subarray(9_096, 12_288).every((byte) => byte === 0x5a)).toBe(true);
    expect(server.blocks[0].subarray(0, 4_096).every((byte) => byte === 0x5a)).toBe(true);
    expect(server.blocks[0][12_288]).toBe(0x5a);
    await copy('nvme0/data@4k', file('out'), '--length', '5000');
    expect(readFileSync(file('out')).equals(data)).toBe(true);
  });

  it('copies no more than the length, and an empty file', async () => {
    const data = bytes(10_000);
    await copy(file('in', data), 'nvme0/data', '--length', '4k');
    expect(server.blocks[0].subarray(0, 4_096).equals(data.subarray(0, 4_096))).toBe(true);
    expect(server.blocks[0][4_096]).toBe(0);
    await copy(file('empty', Buffer.alloc(0)), 'nvme0/data', '--verify');
    expect(printed).toContain(sha256(Buffer.alloc(0)));
    await copy('nvme0/data', file('all'));
    expect(readFileSync(file('all')).length).toBe(8 * MIB);
  });

  it('refuses what does not fit, before anything is written', async () => {
    const cases: [string[], number, string][] = [
      [[file('big', Buffer.alloc(8 * MIB + 1)), 'nvme0/data'], 1, 'fit behind the offset'],
      [['nvme0/data@4M', file('out'), '--length', '5MiB'], 2, 'behind the offset'],
      [[file('big'), 'nvme0/data@100'], 2, 'block size'],
      [[file('big'), 'nvme0/data@9MiB'], 2, 'behind the end'],
      [[file('big'), 'nvme0/data@4q'], 2, 'no offset'],
      [[file('big'), 'nvme0/none'], 1, 'is a share of this tenant'],
      [[file('none'), 'nvme0/data'], 1, 'no such file'],
      [[directory, 'nvme0/data'], 1, 'folder'],
      [['nvme0/data', join(directory, 'no', 'where')], 1, 'no such file or folder'],
      [['nvme0/data', 'nvme0/data'], 2, 'both arguments'],
      [['nvme0/data', '-', '--verify'], 2, 'cannot be read back'],
      [['-', file('out')], 2, 'neither argument'],
    ];
    for (const [args, exitCode, words] of cases) {
      const error = await errorOf(copy(...args));
      expect(error).toBeInstanceOf(CliError);
      expect(error.message).toContain(words);
      expect(error['exitCode']).toBe(exitCode);
    }
    expect(server.messages('submit').length).toBe(0);
    expect(existsSync(file('out'))).toBe(false);
    for (const args of [['a'], ['a', 'nvme0/data', '--depth', '0'], ['a', 'nvme0/data', '--length', 'x'], ['a', 'nvme0/data', '-o', 'xml']]) {
      expect(await errorOf(copy(...args))).toBeInstanceOf(CommanderError);
    }
  });

  it('says how far it got when a request fails', async () => {
    server.onSubmit = (submitted, connection) =>
      connection.complete(submitted, ({ lba }) => (lba >= 512n ? { code: Code.deviceError, status: 0x280 } : {}));
    const error = await errorOf(copy(file('in', bytes(4 * MIB)), 'nvme0/data'));
    expect(error.message).toContain('Write Fault');
    expect(error.message).toContain(`writing got as far as ${2 * MIB} of ${4 * MIB} bytes`);
    expect(error['exitCode']).toBe(1);
  });

  it('says so when what was read back differs', async () => {
    const data = bytes(MIB);
    server.onSubmit = (submitted, connection) => {
      if (submitted.entries.some(({ operation }) => operation === Operation.flush)) server.blocks[0][777] ^= 1;
      connection.complete(submitted);
    };
    const error = await errorOf(copy(file('in', data), 'nvme0/data', '--verify'));
    expect(error.message).toContain('not what was written');
    expect(error['exitCode']).toBe(1);
  });

  it('stops at SIGINT, and says how far it got', async () => {
    let arrived = 0;
    server.onSubmit = (submitted, connection) => {
      arrived++;
      if (arrived === 1) connection.complete(submitted);
    };
    const listeners = process.listenerCount('SIGINT');
    const copying = errorOf(copy(file('in', bytes(4 * MIB)), 'nvme0/data', '--depth', '1'));
    await until(() => arrived === 2);
    process.emit('SIGINT');
    const error = await copying;
    expect(error.message).toBe(`interrupted; writing got as far as ${256 * 1_024} of ${4 * MIB} bytes`);
    expect(error['exitCode']).toBe(1);
    expect(process.listenerCount('SIGINT')).toBe(listeners);
    await until(() => server.connection.socket.readyState === server.connection.socket.CLOSED);
  });

  it('tells its progress in lines where there is no terminal', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval'] });
    try {
      server.onSubmit = (submitted, connection) => {
        if (submitted.entries[0].lba === 0n) void vi.advanceTimersByTimeAsync(1_001).then(() => connection.complete(submitted));
        else connection.complete(submitted);
      };
      await copy(file('in', bytes(MIB)), 'nvme0/data', '--depth', '1');
    } finally {
      vi.useRealTimers();
    }
    expect(told).toMatch(/^writing: 0 B of 1\.0 MiB \(0 %\)/);
    expect(told).toContain('writing: 1.0 MiB of 1.0 MiB (100 %)');
  });
});

describe('pipes', () => {
  it('are read to their end, whatever the pieces', async () => {
    const client = await connect({ socket: server.path });
    const disk = (await client.openDevice('nvme0')).share(0);
    const data = bytes(700_001);
    const pieces: Buffer[] = [];
    for (let at = 0, size = 1; at < data.length; at += size, size = (size * 7) % 65_537) pieces.push(data.subarray(at, at + size));
    const { signal } = new AbortController();
    const seen: number[] = [];
    const options = { depth: 3, signal, onProgress: (done: number) => void seen.push(done) };
    const source = streamSource(Readable.from(pieces), signal);
    expect(await writeShare(source, disk, 4_096, Number.MAX_SAFE_INTEGER, options)).toEqual({ bytes: data.length, sha256: sha256(data) });
    expect(server.blocks[0].subarray(4_096, 4_096 + data.length).equals(data)).toBe(true);
    expect(seen).toEqual([262_144, 524_288, 700_001]);

    const pipe = new PassThrough();
    const collected: Buffer[] = [];
    pipe.on('data', (chunk: Buffer) => collected.push(Buffer.from(chunk)));
    expect(await readShare(disk, 4_096, data.length, streamSink(pipe), options)).toEqual({ bytes: data.length, sha256: sha256(data) });
    expect(Buffer.concat(collected).equals(data)).toBe(true);

    const more = streamSource(Readable.from([Buffer.alloc(9 * MIB)]), signal);
    expect((await errorOf(writeShare(more, disk, 0, Number.MAX_SAFE_INTEGER, options))).message).toContain('do not fit');
    await client.close();
  });

  it('that wait are given up', async () => {
    const client = await connect({ socket: server.path });
    const disk = (await client.openDevice('nvme0')).share(0);
    const abort = new AbortController();
    const source = streamSource(new PassThrough(), abort.signal);
    const copying = errorOf(writeShare(source, disk, 0, 1, { depth: 1, signal: abort.signal, onProgress: () => undefined }));
    abort.abort();
    expect((await copying).name).toBe('AbortError');
    await source.close();
    await client.close();
  });

  it('whose reader ended say so', async () => {
    const pipe = new PassThrough();
    const sink = streamSink(pipe);
    pipe.destroy(Object.assign(new Error('gone'), { code: 'EPIPE' }));
    expect((await errorOf(sink.write(Buffer.alloc(1)))).message).toContain('the standard stream');
  });
});

describe('arguments', () => {
  const device = (name: string, ...names: string[]): DeviceInfo => ({
    name,
    class: 'nvme',
    state: 'open',
    free: true,
    heldBy: [],
    shares: names.map((each, index) => share(index, each, 1, 512)),
  });

  it('are a share where they name one that is granted, and else a file', () => {
    const devices = [device('nvme0', 'data', 'a.b'), device('pci-1', 'x')];
    expect(planOf('nvme0/other', 'nvme0/data@1k', devices)).toEqual({
      direction: 'toShare',
      file: 'nvme0/other',
      place: { device: 'nvme0', share: 'data', offset: 1_024 },
    });
    expect(planOf('pci-1/x', './nvme0/data', devices)).toMatchObject({ direction: 'fromShare', file: './nvme0/data' });
    expect(planOf('-', 'nvme0/a.b@0', devices)).toMatchObject({ direction: 'toShare', file: '-' });
    expect(() => planOf('pci-1/x', 'nvme0/data', devices)).toThrow('both arguments');
    expect(() => planOf('a/b', 'c/d', devices)).toThrow('neither a/b nor c/d');
    expect(() => planOf('a/b', 'c/d', [])).toThrow(CliError);
    for (const [from, to] of [
      ['-', '-'],
      ['/a/b', './c'],
      ['../x', 'y'],
      ['a/b/c', 'd'],
    ])
      expect(() => checkForms(from, to)).toThrow('neither');
    expect(() => checkForms('-', 'a/b')).not.toThrow();
  });

  it('take sizes as people write them', () => {
    const sizes: [string, number | undefined][] = [
      ['0', 0],
      ['4096', 4_096],
      ['4k', 4_096],
      ['4K', 4_096],
      ['4KiB', 4_096],
      ['4 Ki', 4_096],
      ['1kB', 1_000],
      ['1B', 1],
      ['1MiB', MIB],
      ['2G', 2 * 1_024 * MIB],
      ['1TB', 1e12],
      ['', undefined],
      ['k', undefined],
      ['-1', undefined],
      ['1.5k', undefined],
      ['1x', undefined],
      ['0x10', undefined],
      ['9007199254740993', undefined],
      ['9000T', undefined],
      ['1constructor', undefined],
    ];
    for (const [text, value] of sizes) expect([text, parseBytes(text)]).toEqual([text, value]);
    expect([0, 1_023, 1_024, 1_536, 150 * MIB, 5e12].map(formatBytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '150 MiB', '4.5 TiB']);
  });
});
