import { describe, expect, test } from 'vitest';
import {
  AdminOpcode,
  type ByteField,
  Cns,
  DescriptorType,
  IdentifyController,
  IdentifyNamespace,
  Sqe,
  Status,
} from '../../../src/hw/nvme/spec/index.js';
import { type RawMemory, RawNvme } from '../../support/raw-nvme.js';
import { MIB, PAGE, startHost } from './world.js';

const NAMESPACES = [
  { bytes: 3 * MIB, blockBytes: 512 as const },
  { bytes: 5 * MIB, blockBytes: 4096 as const },
  { bytes: 40_960, blockBytes: 4096 as const },
];

function number(data: RawMemory, { at, bytes }: ByteField): number {
  let value = 0;
  for (let index = bytes - 1; index >= 0; index--) value = value * 256 + data.u8[at + index];
  return value;
}

function text(data: RawMemory, { at, bytes }: ByteField): string {
  return Buffer.from(data.u8.slice(at, at + bytes)).toString('latin1');
}

async function identify(host: RawNvme, cns: number, nsid = 0): Promise<{ status: number; data: RawMemory }> {
  const data = await host.allocate(PAGE);
  data.u8.fill(0xcc);
  const { status } = await host.admin({ opcode: AdminOpcode.identify, nsid, prp1: data.at(0), words: { [Sqe.cdw10]: cns } });
  return { status, data };
}

describe('Identify Controller', () => {
  test('tells what the controller is', async () => {
    const { host } = await startHost({ serial: 'A-1', mdts: 3, namespaces: NAMESPACES });
    const { status, data } = await identify(host, Cns.controller);
    const field = IdentifyController;
    expect(status).toBe(0);
    expect(text(data, field.sn)).toBe('A-1'.padEnd(20));
    expect(text(data, field.mn)).toBe('Ringwarden embedded NVMe controller'.padEnd(40));
    expect(number(data, field.vid)).toBe(await host.run(host.backing.config.read16(0)));
    expect(number(data, field.mdts)).toBe(3);
    expect(number(data, field.ver)).toBe(0x0001_0400);
    expect(number(data, field.nn)).toBe(3);
    expect([number(data, field.sqes), number(data, field.cqes)]).toEqual([0x66, 0x44]);
    // Compare, Dataset Management, Write Zeroes, Save/Select; and a volatile write cache.
    expect([number(data, field.oncs), number(data, field.vwc)]).toEqual([0x1d, 7]);
    expect([number(data, field.acl), number(data, field.aerl), number(data, field.elpe)]).toEqual([3, 3, 63]);
    expect(text(data, field.subnqn)).toMatch(/^nqn\.2014-08\.org\.nvmexpress:[^\0]*A-1\0+$/);
    expect([number(data, field.oacs), number(data, field.sgls), number(data, field.fuses)]).toEqual([0, 0, 0]);
  });
});

describe('Identify Namespace', () => {
  test.each([
    [1, 6144, 9],
    [2, 1280, 12],
    [3, 10, 12],
  ])('%i has %i blocks of 2^%i bytes', async (id, blocks, shift) => {
    const { host } = await startHost({ namespaces: NAMESPACES });
    const { status, data } = await identify(host, Cns.namespace, id);
    const field = IdentifyNamespace;
    expect(status).toBe(0);
    expect([number(data, field.nsze), number(data, field.ncap), number(data, field.nuse)]).toEqual([blocks, blocks, 0]);
    expect([number(data, field.nlbaf), number(data, field.flbas), number(data, field.dlfeat)]).toEqual([0, 0, 1]);
    expect(data.u32[field.lbaf.at / 4]).toBe(shift << 16);
    expect(number(data, { at: field.nvmcap.at, bytes: 8 })).toBe(blocks * 2 ** shift);
  });

  test('the utilization follows what is written and deallocated', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(1);
    const page = await host.allocate(PAGE);
    expect((await host.io(pair, { opcode: 1, nsid: 1, prp1: page.at(0), words: { [Sqe.cdw10]: 7 } })).status).toBe(0);
    // Memory comes in chunks of 64 KiB.
    expect(number((await identify(host, Cns.namespace, 1)).data, IdentifyNamespace.nuse)).toBe(128);
    expect((await host.io(pair, { opcode: 8, nsid: 1, words: { [Sqe.cdw10]: 0, [Sqe.cdw12]: 127 } })).status).toBe(0);
    expect(number((await identify(host, Cns.namespace, 1)).data, IdentifyNamespace.nuse)).toBe(0);
  });

  test.each([0, 4, 0xffff_ffff])('refuses namespace %i', async (id) => {
    const { host } = await startHost({ namespaces: NAMESPACES });
    for (const cns of [Cns.namespace, Cns.namespaceDescriptors]) {
      const { status, data } = await identify(host, cns, id);
      expect(status).toBe(Status.invalidNamespace);
      expect(data.u8.every((byte) => byte === 0xcc)).toBe(true);
    }
  });
});

describe('lists', () => {
  test.each([
    [0, [1, 2, 3]],
    [1, [2, 3]],
    [3, []],
    [0xffff_fffd, []],
  ])('active namespaces above %i', async (after, ids) => {
    const { host } = await startHost({ namespaces: NAMESPACES });
    const { status, data } = await identify(host, Cns.activeNamespaces, after);
    expect(status).toBe(0);
    expect(Array.from(data.u32.slice(0, ids.length + 1))).toEqual([...ids, 0]);
    expect(data.u32.slice(ids.length).every((id) => id === 0)).toBe(true);
  });

  test.each([0xffff_fffe, 0xffff_ffff])('active namespaces above %i are refused', async (after) => {
    const { host } = await startHost();
    expect((await identify(host, Cns.activeNamespaces, after)).status).toBe(Status.invalidNamespace);
  });

  test('descriptors hold a UUID that is the namespace’s own, and stays', async () => {
    const uuids: string[] = [];
    for (let turn = 0; turn < 2; turn++) {
      const { host } = await startHost({ namespaces: NAMESPACES, serial: 'S' });
      for (const id of [1, 2]) {
        const { status, data } = await identify(host, Cns.namespaceDescriptors, id);
        expect(status).toBe(0);
        expect(Array.from(data.u8.slice(0, 4))).toEqual([DescriptorType.uuid, 16, 0, 0]);
        const uuid = Buffer.from(data.u8.slice(4, 20)).toString('hex');
        // Version 8 and the variant of RFC 9562.
        expect(uuid).toMatch(/^.{12}8.{3}[89ab].{15}$/);
        expect(data.u8.slice(20).every((byte) => byte === 0)).toBe(true);
        uuids.push(uuid);
      }
    }
    expect(uuids.slice(0, 2)).toEqual(uuids.slice(2));
    expect(new Set(uuids).size).toBe(2);
  });
});

test.each([Cns.nvmSets, Cns.allocatedNamespaces, Cns.controllers, 0xff])('CNS %i is not supported', async (cns) => {
  const { host } = await startHost();
  const { status } = await identify(host, cns, 1);
  expect(status).toBe(Status.invalidField);
});

test('the data can start inside a page and go on in another', async () => {
  const { host } = await startHost();
  const reference = (await identify(host, Cns.controller)).data;
  const data = await host.allocate(2 * PAGE);
  data.u8.fill(0xcc);
  const command = { opcode: AdminOpcode.identify, prp1: data.at(PAGE + 96), prp2: data.at(0), words: { [Sqe.cdw10]: Cns.controller } };
  expect((await host.admin(command)).status).toBe(0);
  expect(data.u8.slice(PAGE + 96)).toEqual(reference.u8.slice(0, PAGE - 96));
  expect(data.u8.slice(0, 96)).toEqual(reference.u8.slice(PAGE - 96));
  expect(data.u8.slice(96, PAGE + 96).every((byte) => byte === 0xcc)).toBe(true);
});

describe('commands that are not there', () => {
  test.each([0x03, 0x0d, 0x10, 0x11, 0x14, 0x18, 0x7f, 0x80, 0x81, 0x84, 0xff])('admin opcode %i', async (opcode) => {
    const { host } = await startHost();
    const completion = await host.admin({ opcode });
    expect(completion).toMatchObject({ status: Status.invalidOpcode, doNotRetry: true, more: true });
  });

  test.each([0x0000_0100, 0x0000_4000, 0x0000_8000])('fused or SGL commands (Dword 0 bits %i)', async (bits) => {
    const { host } = await startHost();
    const id = host.write(host.adminSubmission, { opcode: AdminOpcode.identify, words: {} });
    host.adminSubmission.memory.u32[0] = AdminOpcode.identify | bits | (id << 16);
    host.ring(host.adminSubmission);
    expect((await host.completion(host.adminCompletion)).status).toBe(Status.invalidField);
  });
});
