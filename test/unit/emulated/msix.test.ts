import { describe, expect, test } from 'vitest';
import { AdminOpcode, NvmOpcode, Sqe } from '../../../src/hw/nvme/spec/index.js';
import { Msix, MsixControl, MsixEntry, readMsix } from '../../../src/hw/pci/index.js';
import { RawNvme, blocks, eventually, quiet } from '../../support/raw-nvme.js';
import { PAGE, startHost } from './world.js';

async function msixOf(host: RawNvme): Promise<{
  write: (vector: number, register: number, value: number) => void;
  read: (vector: number, register: number) => Promise<number>;
  pending: (word: number) => Promise<number>;
  control: (value: number) => Promise<void>;
}> {
  const { backing } = host;
  const capability = await host.run(readMsix(backing.config, backing.bars));
  if (capability === undefined) throw new Error('no MSI-X');
  const bar = backing.bar(capability.table.bar);
  const at = (vector: number, register: number): number => capability.table.offset + vector * MsixEntry.bytes + register;
  return {
    write: (vector, register, value) => bar.write32(at(vector, register), value),
    read: (vector, register) => host.run(bar.read32(at(vector, register))),
    pending: (word) => host.run(bar.read32(capability.pendingBits.offset + 4 * word)),
    control: (value) => host.run(backing.config.write16(capability.offset + Msix.control, value)),
  };
}

const nothing = { opcode: AdminOpcode.getFeatures, words: { [Sqe.cdw10]: 1 } };

describe('the table', () => {
  test('keeps addresses and data, and of the control word the mask', async () => {
    const { host } = await startHost({ vectors: 3 }, 3);
    const table = await msixOf(host);
    for (const [register, value] of [
      [MsixEntry.addressLow, 0x1234_5678],
      [MsixEntry.addressHigh, 0xffff_ffff],
      [MsixEntry.data, 0x8765_4321],
    ] as const) {
      table.write(2, register, value);
      expect(await table.read(2, register)).toBe(value);
    }
    table.write(2, MsixEntry.control, 0xffff_ffff);
    expect(await table.read(2, MsixEntry.control)).toBe(1);
    table.write(3, MsixEntry.data, 5);
    expect(await table.read(3, MsixEntry.data)).toBe(0);
    expect(await table.read(0, MsixEntry.addressLow)).toBe(0xfee0_0000);
  });

  test('every entry is masked after a reset of the function', async () => {
    const { backing, host } = await startHost({ vectors: 40 }, 40);
    const table = await msixOf(host);
    await host.run(backing.reset());
    for (const vector of [0, 1, 39]) {
      expect(await table.read(vector, MsixEntry.control)).toBe(1);
      expect(await table.read(vector, MsixEntry.addressLow)).toBe(0);
    }
  });
});

describe('messages', () => {
  test('come once for the completions of one step', async () => {
    const { backing, host } = await startHost({}, 2);
    const pair = await host.createPair(1, 64, 1);
    for (let index = 0; index < 20; index++) host.write(pair.submission, { opcode: NvmOpcode.flush, nsid: 1 });
    host.ring(pair.submission);
    backing.poll();
    expect(backing.interrupts.fired[1]).toBe(1);
    expect(host.reap(pair.completion).length).toBe(20);
  });

  test('wait under the function mask, each vector once', async () => {
    const { backing, host } = await startHost({ vectors: 40 }, 40);
    const table = await msixOf(host);
    const pair = await host.createPair(1, 64, 37);
    await quiet(backing, 2);
    const before = backing.interrupts.fired[0];
    await table.control(MsixControl.enable | MsixControl.functionMask);
    for (let turn = 0; turn < 3; turn++) {
      host.submit(pair.submission, { opcode: NvmOpcode.flush, nsid: 1 });
      host.submit(host.adminSubmission, nothing);
      await quiet(backing, 2);
    }
    expect([backing.interrupts.fired[0], backing.interrupts.fired[37]]).toEqual([before, 0]);
    expect([await table.pending(0), await table.pending(1)]).toEqual([1, 1 << 5]);
    await table.control(MsixControl.enable);
    await eventually(backing, 'pending messages', () => backing.interrupts.fired[37] === 1 && backing.interrupts.fired[0] === before + 1);
    expect([await table.pending(0), await table.pending(1)]).toEqual([0, 0]);
  });

  test('pending bits cannot be written, and are gone after a controller reset', async () => {
    const { backing, host } = await startHost({}, 1);
    const table = await msixOf(host);
    await table.control(MsixControl.enable | MsixControl.functionMask);
    host.submit(host.adminSubmission, nothing);
    await quiet(backing, 2);
    expect(await table.pending(0)).toBe(1);
    await host.disable();
    expect(await table.pending(0)).toBe(0);
    await table.control(MsixControl.enable);
    await quiet(backing, 2);
    expect(backing.interrupts.fired[0]).toBe(0);
  });

  test('do not come for a queue without interrupts, nor while MSI-X is off', async () => {
    const { backing, host } = await startHost({}, 2);
    const table = await msixOf(host);
    const pair = await host.createPair(1);
    await quiet(backing, 2);
    const before = backing.interrupts.fired[0];
    await host.io(pair, { opcode: NvmOpcode.flush, nsid: 1 });
    await table.control(0);
    await host.admin(nothing);
    await quiet(backing, 2);
    expect(Array.from(backing.interrupts.fired)).toEqual([before, 0]);
    expect(await table.pending(0)).toBe(0);
  });

  test('are writes of four bytes to any address: memory that somebody else owns', async () => {
    const { host } = await startHost({}, 1);
    const table = await msixOf(host);
    const victim = await host.allocate(PAGE, { owner: 'victim' });
    victim.u8.fill(0x11);
    const target = victim.at(64);
    table.write(0, MsixEntry.addressLow, Number(target & 0xffff_ffffn));
    table.write(0, MsixEntry.addressHigh, Number(target >> 32n));
    table.write(0, MsixEntry.data, 0xdead_beef);
    await host.admin(nothing);
    await eventually(host.backing, 'message in memory', () => victim.u32[16] === 0xdead_beef);
    expect(victim.u8.filter((byte) => byte !== 0x11).length).toBe(4);
  });
});

describe('peer to peer', () => {
  /** Bus address of the MSI-X table: anybody who reads configuration space knows it. */
  async function tableAddress(host: RawNvme): Promise<bigint> {
    return BigInt(((await host.run(host.backing.config.read32(0x20))) & 0xffff_fff0) >>> 0);
  }

  test('a read command can write the MSI-X table, and its message goes where the blocks say', async () => {
    const { backing, host } = await startHost({}, 1);
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    const victim = await host.allocate(PAGE);
    const target = victim.at(8);
    data.u32.set([Number(target & 0xffff_ffffn), Number(target >> 32n), 0x0bad_cafe, 0]);
    expect((await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(0, 1) })).status).toBe(0);
    expect((await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: await tableAddress(host), words: blocks(0, 1) })).status).toBe(0);
    const before = backing.interrupts.fired[0];
    await host.admin(nothing);
    await quiet(backing, 2);
    expect(victim.u32[2]).toBe(0x0bad_cafe);
    expect(backing.interrupts.fired[0]).toBe(before);
  });

  test('a write command can read it', async () => {
    const { host } = await startHost({}, 1);
    const pair = await host.createPair(1);
    expect((await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: await tableAddress(host), words: blocks(0, 1) })).status).toBe(0);
    const data = await host.allocate(PAGE);
    expect((await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: data.at(0), words: blocks(0, 1) })).status).toBe(0);
    expect(Array.from(data.u32.slice(0, 4))).toEqual([0xfee0_0000, 0, 0, 0]);
  });

  test('a read command can raise interrupts by itself', async () => {
    const { backing, host } = await startHost({}, 4);
    const pair = await host.createPair(1);
    const data = await host.allocate(PAGE);
    data.u32.fill(0xffff_ffff);
    data.u32[0] = 3;
    await host.io(pair, { opcode: NvmOpcode.write, nsid: 1, prp1: data.at(0), words: blocks(0, 1) });
    expect((await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, prp1: 0xfee0_0000n, words: blocks(0, 1) })).status).toBe(0);
    await quiet(backing, 2);
    expect(backing.interrupts.fired[3]).toBe(1);
    expect(backing.interrupts.fired[2]).toBe(0);
  });

  test('a read command into the controller’s own registers resets it in mid-command, and the model survives', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(1);
    const registers = BigInt(((await host.run(host.backing.config.read32(0x10))) & 0xffff_fff0) >>> 0);
    // Blocks of zeros over the first 512 bytes of the registers: CC becomes 0.
    host.submit(pair.submission, { opcode: NvmOpcode.read, nsid: 1, prp1: registers, words: blocks(0, 1) });
    await quiet(host.backing, 4);
    expect(host.peek(pair.completion)).toBeUndefined();
    expect(await host.read32(0x14)).toBe(0);
    expect(await host.read32(0x1c)).toBe(0);
    host.adminSubmission.tail = 0;
    host.adminCompletion.memory.u8.fill(0);
    host.adminCompletion.head = 0;
    host.adminCompletion.phase = 1;
    await host.prepareAdmin(8);
    await host.enable();
    expect((await host.admin(nothing)).status).toBe(0);
  });
});
