/** What is particular to the model on a thread of its own. */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onTestFinished, describe, expect, test } from 'vitest';
import { openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import { Shared, Word } from '../../../src/hw/emulated/shared.js';
import { ASQ, CAP, NvmOpcode, VS } from '../../../src/hw/nvme/spec/index.js';
import { Epoll, shm } from '../../../src/native/shm.js';
import { RawNvme, blocks, eventually, finish } from '../../support/raw-nvme.js';
import { MIB, PAGE, openBacking, pattern, startHost } from './world.js';

test('the build that the thread runs from is not older than the sources', () => {
  const sources = fileURLToPath(new URL('../../../src/hw/', import.meta.url));
  const built = fileURLToPath(new URL('../../../dist/hw/', import.meta.url));
  for (const folder of ['emulated/', 'emulated/model/', 'nvme/spec/', 'pci/']) {
    for (const name of readdirSync(sources + folder).filter((one) => one.endsWith('.ts'))) {
      const stale = statSync(sources + folder + name).mtimeMs > statSync(built + folder + name.replace('.ts', '.js')).mtimeMs;
      expect(stale, `${folder}${name} is newer than its build: run "npm run build"`).toBe(false);
    }
  }
});

describe('the device thread', () => {
  test('does its DMA while the host does something else', async () => {
    const { backing, host } = await startHost({ mode: 'thread', namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }] }, 2);
    const pair = await host.createPair(1, 256, 1);
    const data = await host.allocate(64 * PAGE);
    pattern(data.u8, 9);
    const reference = data.u8.slice();
    for (let page = 0; page < 64; page++)
      host.write(pair.submission, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(page * PAGE), words: blocks(8 * page, 8) });
    host.ring(pair.submission);
    // Nobody polls: the thread works, and its interrupt makes the descriptor readable.
    const epoll = shm().epollCreate();
    onTestFinished(() => shm().close(epoll));
    for (const fd of backing.descriptors) shm().epollControl(epoll, 'add', fd, Epoll.in, 0);
    expect(shm().epollWait(epoll, new Int32Array(2), 5_000_000)).toBe(1);
    const completed: number[] = [];
    await eventually(
      backing,
      'all writes',
      () => completed.push(...host.reap(pair.completion).map(({ status }) => status)) >= 0 && completed.length === 64,
    );
    expect(new Set(completed)).toEqual(new Set([0]));
    data.u8.fill(0);
    for (let page = 0; page < 64; page++)
      host.write(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(page * PAGE), words: blocks(8 * page, 8) });
    host.ring(pair.submission);
    for (let page = 0; page < 64; page++) expect((await host.completion(pair.completion)).status).toBe(0);
    expect(data.u8).toEqual(reference);
  });

  test('takes more posted writes than its queue holds, in order', async () => {
    const { host } = await startHost({ mode: 'thread' });
    for (let turn = 1; turn <= 20_000; turn++) host.bar.write32(ASQ.offset + 4, turn);
    expect(await host.read32(ASQ.offset + 4)).toBe(20_000);
  });

  test('answers more reads at once than it has slots, and late answers go to nobody', async () => {
    const { backing, host } = await startHost({ mode: 'thread' });
    const abandoned = Array.from({ length: 40 }, () => host.bar.read32(CAP.offset));
    for (const task of abandoned) task.next();
    for (const task of abandoned) task.return(0);
    const version = await host.read32(VS.offset);
    const values = await Promise.all(
      Array.from({ length: 200 }, (_, index) => finish(backing, host.bar.read32(index % 2 === 0 ? VS.offset : CAP.offset + 4))),
    );
    const high = await host.read32(CAP.offset + 4);
    for (const [index, value] of values.entries()) expect(value).toBe(index % 2 === 0 ? version : high);
  });

  test('maps regions of every size, and lets go of them', async () => {
    const backing = await openBacking({ mode: 'thread' });
    const fd = shm().memfdCreate('large', 512 * MIB);
    onTestFinished(() => shm().close(fd));
    // Addresses of 131072 pages go through the shared area in many parts.
    const memory = await finish(backing, backing.attach(fd, 512 * MIB, { owner: 'x'.repeat(200) }));
    expect(memory.pageLow.length).toBe(131_072);
    const small = shm().memfdCreate('small', PAGE);
    onTestFinished(() => shm().close(small));
    const many = await Promise.all(Array.from({ length: 50 }, () => finish(backing, backing.attach(small, PAGE))));
    expect(backing.attachedPages).toBe(131_072 + 50);
    const mapped = (): number => readFileSync('/proc/self/maps', 'latin1').split('/memfd:small').length - 1;
    // Once here, once in the device thread.
    expect(mapped()).toBe(100);
    for (const one of many) await finish(backing, backing.detach(one));
    await finish(backing, backing.detach(memory));
    expect(backing.attachedPages).toBe(0);
    expect(mapped()).toBe(0);
  });

  test('attaching and asking that is given up half-way leaves nothing behind and disturbs nobody', async () => {
    const { backing, host } = await startHost({ mode: 'thread' });
    const fd = shm().memfdCreate('half', 64 * PAGE);
    onTestFinished(() => shm().close(fd));
    const before = backing.attachedPages;
    for (let turn = 0; turn < 50; turn++) {
      const attach = backing.attach(fd, 64 * PAGE, { owner: 'given up' });
      let step = attach.next();
      for (let more = turn % 4; more > 0 && step.done !== true; more--) step = attach.next();
      // The device may have been faster than we gave up.
      if (step.done === true) await finish(backing, backing.detach(step.value));
      else attach.return(undefined as never);
      const inspect = backing.inspect();
      inspect.next();
      inspect.return(undefined as never);
      const memory = await finish(backing, backing.attach(fd, 64 * PAGE));
      expect(await host.run(backing.inspect())).toMatchObject({ gone: false });
      const detach = backing.detach(memory);
      if (detach.next().done === true) continue;
      detach.return();
      // What was given up is asked for again.
      await finish(backing, backing.detach(memory));
    }
    expect(backing.attachedPages).toBe(before);
    expect(await host.read32(VS.offset)).toBe(0x0001_0400);
    expect(readFileSync('/proc/self/maps', 'latin1')).not.toContain('/memfd:half');
  });

  test('memory that cannot be mapped is refused, and the thread lives on', async () => {
    const { backing, host } = await startHost({ mode: 'thread' });
    const fd = shm().memfdCreate('short', PAGE);
    onTestFinished(() => shm().close(fd));
    await expect(finish(backing, backing.attach(fd, 2 * PAGE))).rejects.toThrow();
    expect(await host.read32(VS.offset)).toBe(0x0001_0400);
  });

  test('that ends by itself is told, and everything that waits ends', async () => {
    const prepared = await prepareEmulated({ mode: 'thread', namespaces: [{ bytes: MIB }] });
    const backing = openEmulated(prepared.handle);
    const host = await RawNvme.start(backing);
    const data = await host.allocate(PAGE);
    const shared = new Shared(prepared.handle.shared);
    Atomics.store(shared.words, Word.stop, 1);
    shared.wakeDevice();
    expect(await prepared.ended).toMatch(/ended/);
    await eventually(backing, 'loss of the device', () => backing.lost !== undefined);
    await expect(host.read32(VS.offset)).rejects.toMatchObject({ code: 'lost' });
    host.bar.write32(ASQ.offset, 0);
    await host.free(data);
    await host.stop();
    backing.dispose();
    await prepared.dispose();
  });

  test('ends when the backing is disposed of, in the middle of work', async () => {
    const prepared = await prepareEmulated({ mode: 'thread', namespaces: [{ bytes: 64 * MIB, blockBytes: 512 }] });
    const backing = openEmulated(prepared.handle);
    const host = await RawNvme.start(backing);
    const pair = await host.createPair(1, 1024);
    const data = await host.allocate(PAGE);
    for (let index = 0; index < 1000; index++)
      host.write(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(index, 8) });
    host.ring(pair.submission);
    backing.dispose();
    await prepared.dispose();
    expect(backing.lost).toBeTypeOf('string');
  });
});
