import { describe, expect, test } from 'vitest';
import {
  ACQ,
  AQA,
  ASQ,
  AdminOpcode,
  CAP,
  CC,
  CSTS,
  INTMC,
  INTMS,
  ShutdownNotification,
  Sqe,
  VS,
  getField,
  putField,
} from '../../../src/hw/nvme/spec/index.js';
import { RawNvme, finish, quiet } from '../../support/raw-nvme.js';
import { MIB, openBacking, startHost } from './world.js';

const ENABLE = 1 | (6 << 16) | (4 << 20);
const fatal = (csts: number): boolean => getField(CSTS.fields.cfs, csts) === 1;
const ready = (csts: number): boolean => getField(CSTS.fields.rdy, csts) === 1;

describe('CAP and VS', () => {
  test('say what the options said', async () => {
    const { host } = await startHost({ mqes: 99, doorbellStride: 3, readyTimeoutMs: 7_100 });
    const low = await host.read32(CAP.offset);
    const high = await host.read32(CAP.offset + 4);
    const field = (name: keyof typeof CAP.fields): number => getField(CAP.fields[name], low, high);
    expect(field('mqes')).toBe(99);
    expect(field('cqr')).toBe(1);
    expect(field('to')).toBe(15);
    expect(field('dstrd')).toBe(3);
    expect(field('css')).toBe(1);
    expect(field('mpsmin')).toBe(0);
    expect(field('mpsmax')).toBe(0);
    expect(field('nssrs')).toBe(0);
    expect(await host.read32(VS.offset)).toBe(0x0001_0400);
  });

  test('are read-only', async () => {
    const { host } = await startHost();
    const before = await host.run(host.bar.read64(CAP.offset));
    host.bar.write64(CAP.offset, 0n);
    host.bar.write32(VS.offset, 0);
    host.bar.write32(CSTS.offset, 0xffff_ffff);
    expect(await host.run(host.bar.read64(CAP.offset))).toBe(before);
    expect(await host.read32(VS.offset)).toBe(0x0001_0400);
    expect(await host.read32(CSTS.offset)).toBe(1);
  });
});

describe('register access', () => {
  test('narrow writes change their own bytes', async () => {
    const backing = await openBacking();
    await finish(backing, backing.claim());
    const bar = backing.bar(0);
    bar.write32(ASQ.offset + 4, 0x1122_3344);
    bar.write8(ASQ.offset + 6, 0xaa);
    bar.write16(ASQ.offset + 4, 0xbbcc);
    expect(await finish(backing, bar.read32(ASQ.offset + 4))).toBe(0x11aa_bbcc);
  });

  test('reserved bits and unaligned parts of addresses are not kept', async () => {
    const backing = await openBacking();
    await finish(backing, backing.claim());
    const bar = backing.bar(0);
    bar.write32(AQA.offset, 0xffff_ffff);
    bar.write64(ASQ.offset, 0xffff_ffff_ffff_ffffn);
    bar.write64(ACQ.offset, 0xffff_ffff_ffff_ffffn);
    expect(await finish(backing, bar.read32(AQA.offset))).toBe(0x0fff_0fff);
    expect(await finish(backing, bar.read64(ASQ.offset))).toBe(0xffff_ffff_ffff_f000n);
    expect(await finish(backing, bar.read64(ACQ.offset))).toBe(0xffff_ffff_ffff_f000n);
  });

  test('the interrupt mask is set and cleared bit by bit', async () => {
    const { host } = await startHost();
    host.bar.write32(INTMS.offset, 0b1011);
    host.bar.write32(INTMC.offset, 0b0010);
    expect(await host.read32(INTMS.offset)).toBe(0b1001);
    expect(await host.read32(INTMC.offset)).toBe(0b1001);
  });

  test('what is not there reads as zero and takes writes', async () => {
    const { host } = await startHost();
    for (const offset of [0x18, 0x38, 0x3c, 0x40, 0xffc, 0x1000, 0x1004]) {
      if (offset < 0x1000) host.bar.write32(offset, 0xffff_ffff);
      expect(await host.read32(offset), offset.toString(16)).toBe(0);
    }
  });

  test('all ones, and no effect, while memory decode is off or the function sleeps', async () => {
    const { backing, host } = await startHost();
    const command = await host.run(backing.config.read16(4));
    await host.run(backing.config.write16(4, command & ~2));
    expect(await host.read32(VS.offset)).toBe(0xffff_ffff);
    host.bar.write32(CC.offset, 0);
    await host.run(backing.config.write16(4, command));
    expect(await host.read32(CC.offset)).toBe(ENABLE);
    await host.run(backing.config.write16(0x44, 3));
    expect(await host.read32(VS.offset)).toBe(0xffff_ffff);
    await host.run(backing.config.write16(0x44, 0));
    expect(await host.read32(VS.offset)).toBe(0x0001_0400);
  });
});

describe('enabling', () => {
  async function claimed(): Promise<RawNvme> {
    const { host } = await startHost();
    await host.disable();
    return host;
  }

  test('makes the controller ready, and disabling makes it not ready', async () => {
    const { host } = await startHost();
    expect(ready(await host.read32(CSTS.offset))).toBe(true);
    await host.disable();
    expect(await host.read32(CSTS.offset)).toBe(0);
    await host.enable();
    expect((await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } })).status).toBe(0);
  });

  test.each([
    ['page size', ENABLE | putField(CC.fields.mps, 1)],
    ['arbitration', ENABLE | putField(CC.fields.ams, 1)],
    ['command set', ENABLE | putField(CC.fields.css, 6)],
  ])('with an unsupported %s is fatal', async (_what, value) => {
    const host = await claimed();
    host.bar.write32(CC.offset, value >>> 0);
    await quiet(host.backing, 2);
    const csts = await host.read32(CSTS.offset);
    expect([fatal(csts), ready(csts)]).toEqual([true, false]);
  });

  test.each([
    ['no submission queue size', AQA.offset, putField(AQA.fields.acqs, 31)],
    ['no completion queue size', AQA.offset, putField(AQA.fields.asqs, 31)],
    ['a submission queue in nothing', ASQ.offset, 0x7000],
    ['a completion queue in nothing', ACQ.offset, 0x7000],
  ])('with %s is fatal', async (_what, register, value) => {
    const host = await claimed();
    if (register === AQA.offset) host.bar.write32(register, value);
    else host.bar.write64(register, BigInt(value));
    await host.enable();
    expect(fatal(await host.read32(CSTS.offset))).toBe(true);
  });

  test('a fatal controller does nothing until it is reset, and then works', async () => {
    const host = await claimed();
    host.bar.write64(ACQ.offset, 0xf000n);
    await host.enable();
    host.submit(host.adminSubmission, { opcode: AdminOpcode.identify });
    await quiet(host.backing, 4);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    await host.disable();
    expect(fatal(await host.read32(CSTS.offset))).toBe(false);
    await host.prepareAdmin(8);
    await host.enable();
    expect((await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } })).status).toBe(0);
  });

  test('the admin queue registers survive a controller reset, and not one of the function', async () => {
    const { backing, host } = await startHost();
    const before = await host.run(host.bar.read64(ASQ.offset));
    await host.disable();
    expect(await host.run(host.bar.read64(ASQ.offset))).toBe(before);
    await host.run(backing.reset());
    expect(await host.run(host.bar.read64(ASQ.offset))).toBe(0n);
    expect(await host.read32(AQA.offset)).toBe(0);
  });

  test('queues are gone after a reset', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(1);
    await host.disable();
    await host.enable();
    host.submit(pair.submission, { opcode: 0, nsid: 1 });
    await quiet(host.backing, 4);
    expect(host.peek(pair.completion)).toBeUndefined();
    expect((await host.admin({ opcode: AdminOpcode.deleteSubmissionQueue, words: { [Sqe.cdw10]: 1 } })).status).toBe(0x101);
  });

  test('readiness can be delayed, or never come', async () => {
    const { backing, host } = await startHost();
    await host.disable();
    await host.run(backing.setReadyDelay(30));
    host.bar.write32(CC.offset, ENABLE);
    backing.poll();
    expect(ready(await host.read32(CSTS.offset))).toBe(false);
    expect(ready(await host.status(ready))).toBe(true);
    await host.disable();
    await host.run(backing.setReadyDelay(Infinity));
    host.bar.write32(CC.offset, ENABLE);
    await quiet(backing, 200);
    expect(ready(await host.read32(CSTS.offset))).toBe(false);
    await host.run(backing.setReadyDelay(0));
    await host.disable();
    await host.enable();
    expect(ready(await host.read32(CSTS.offset))).toBe(true);
  });

  test('nothing is fetched without bus mastering, and everything when it comes back', async () => {
    const { backing, host } = await startHost();
    const command = await host.run(backing.config.read16(4));
    await host.run(backing.config.write16(4, command & ~4));
    host.submit(host.adminSubmission, { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
    await quiet(backing, 4);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    await host.run(backing.config.write16(4, command));
    expect((await host.completion(host.adminCompletion)).status).toBe(0);
  });
});

describe('shutdown', () => {
  const shutdown = (csts: number): number => getField(CSTS.fields.shst, csts);

  test.each([ShutdownNotification.normal, ShutdownNotification.abrupt])(
    'notification %i ends complete, after which nothing is served',
    async (kind) => {
      const { host } = await startHost();
      host.bar.write32(CC.offset, (ENABLE | putField(CC.fields.shn, kind)) >>> 0);
      expect(shutdown(await host.status((csts) => shutdown(csts) === 2))).toBe(2);
      host.submit(host.adminSubmission, { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } });
      await quiet(host.backing, 4);
      expect(host.peek(host.adminCompletion)).toBeUndefined();
      await host.disable();
      expect(shutdown(await host.read32(CSTS.offset))).toBe(0);
      await host.enable();
      expect((await host.admin({ opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } })).status).toBe(0);
    },
  );
});

test('a large doorbell stride works', async () => {
  const { host } = await startHost({ doorbellStride: 15, queuePairs: 3, namespaces: [{ bytes: MIB, blockBytes: 4096 }] });
  const pair = await host.createPair(3);
  expect((await host.io(pair, { opcode: 0, nsid: 1 })).status).toBe(0);
});
