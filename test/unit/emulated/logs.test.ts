import { describe, expect, test } from 'vitest';
import {
  AdminOpcode,
  type ByteField,
  CriticalWarning,
  ErrorEntry,
  EventConfiguration,
  EventType,
  FeatureId,
  LogPageId,
  NvmOpcode,
  SmartEvent,
  SmartLog,
  Sqe,
  Status,
} from '../../../src/hw/nvme/spec/index.js';
import { type RawCompletion, type RawMemory, RawNvme, blocks, buildPrps, quiet } from '../../support/raw-nvme.js';
import { MIB, PAGE, startHost } from './world.js';

interface LogRequest {
  readonly id: number;
  readonly bytes?: number;
  readonly offset?: number;
  readonly retain?: boolean;
  readonly nsid?: number;
}

/** Fills `data` from its start. */
function getLog(
  host: RawNvme,
  data: RawMemory,
  { id, bytes = 512, offset = 0, retain = false, nsid = 0xffff_ffff }: LogRequest,
): Promise<RawCompletion> {
  const dwords = bytes / 4 - 1;
  const words = {
    [Sqe.cdw10]: (id | (retain ? 0x8000 : 0) | ((dwords & 0xffff) << 16)) >>> 0,
    [Sqe.cdw11]: dwords >>> 16,
    [Sqe.cdw12]: offset % 2 ** 32,
    [Sqe.cdw13]: Math.floor(offset / 2 ** 32),
  };
  return host.admin({ opcode: AdminOpcode.getLogPage, nsid, ...buildPrps(data, 0, bytes, data, data.memory.bytes - PAGE), words });
}

function field(data: RawMemory, { at, bytes }: ByteField, base = 0): number {
  let value = 0;
  for (let index = bytes - 1; index >= 0; index--) value = value * 256 + data.u8[base + at + index];
  return value;
}

describe('Get Log Page', () => {
  test.each([0x00, LogPageId.commandsSupported, LogPageId.deviceSelfTest, 0x7f, 0xff])('page %i is not there', async (id) => {
    const { host } = await startHost();
    expect((await getLog(host, await host.allocate(PAGE), { id })).status).toBe(Status.invalidLogPage);
  });

  test('refuses offsets that are odd or beyond the page, and more than MDTS', async () => {
    const { host } = await startHost({ mdts: 1 });
    const data = await host.allocate(4 * PAGE);
    for (const offset of [1, 2, 3, 516, 2 ** 32]) {
      expect((await getLog(host, data, { id: LogPageId.smart, offset })).status).toBe(Status.invalidField);
    }
    expect((await getLog(host, data, { id: LogPageId.errorInformation, bytes: 2 * PAGE })).status).toBe(0);
    expect((await getLog(host, data, { id: LogPageId.errorInformation, bytes: 2 * PAGE + 4 })).status).toBe(Status.invalidField);
  });

  test('reads parts, and writes nothing beyond the end of the page', async () => {
    const { host } = await startHost();
    const whole = await host.allocate(2 * PAGE);
    await getLog(host, whole, { id: LogPageId.firmwareSlot });
    expect(whole.u8[0]).toBe(1);
    expect(Buffer.from(whole.u8.slice(8, 16)).toString()).toBe('1.0     ');
    const part = await host.allocate(2 * PAGE);
    part.u8.fill(0xcc);
    expect((await getLog(host, part, { id: LogPageId.firmwareSlot, offset: 8, bytes: 8 })).status).toBe(0);
    expect(part.u8.slice(0, 8)).toEqual(whole.u8.slice(8, 16));
    expect(part.u8[8]).toBe(0xcc);
    expect((await getLog(host, part, { id: LogPageId.firmwareSlot, offset: 504, bytes: 1024 })).status).toBe(0);
    expect(part.u8.slice(0, 9)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xcc));
    expect((await getLog(host, part, { id: LogPageId.firmwareSlot, offset: 512, bytes: 64 })).status).toBe(0);
    expect(part.u8[8]).toBe(0xcc);
  });

  test('works without a limit of transfer size', async () => {
    const { host } = await startHost({ mdts: 0 });
    const data = await host.allocate(16 * PAGE);
    const words = { [Sqe.cdw10]: (LogPageId.smart | 0xffff_0000) >>> 0, [Sqe.cdw11]: 0xffff };
    expect((await host.admin({ opcode: AdminOpcode.getLogPage, prp1: data.at(0), words })).status).toBe(0);
    expect(field(data, SmartLog.temperature)).toBe(310);
  });
});

describe('the error log', () => {
  test('has the failed commands, newest first, with what was wrong', async () => {
    const { host } = await startHost();
    const pair = await host.createPair(3);
    const first = await host.io(pair, { opcode: NvmOpcode.read, nsid: 9, words: blocks(1234, 1) });
    const second = await host.io(pair, { opcode: NvmOpcode.read, nsid: 1, words: blocks(2 ** 40 + 5, 1) });
    const third = await host.admin({ opcode: 0xc5, nsid: 7 });
    expect([first.more, second.more, third.more]).toEqual([true, true, true]);
    const data = await host.allocate(2 * PAGE);
    await getLog(host, data, { id: LogPageId.errorInformation, bytes: 256 });
    const entry = (index: number): Record<string, number> =>
      Object.fromEntries(Object.entries(ErrorEntry).map(([name, place]) => [name, field(data, place, 64 * index)]));
    expect(entry(0)).toMatchObject({ count: 3, sqid: 0, cid: third.commandId, status: Status.invalidOpcode << 1, parameter: 0, nsid: 7 });
    expect(entry(1)).toMatchObject({ count: 2, sqid: 3, cid: second.commandId, status: Status.lbaOutOfRange << 1, parameter: 40, lba: 2 ** 40 + 5 });
    expect(entry(2)).toMatchObject({
      count: 1,
      sqid: 3,
      cid: first.commandId,
      status: Status.invalidNamespace << 1,
      parameter: 4,
      nsid: 9,
      lba: 1234,
    });
    expect(entry(3).count).toBe(0);
  });

  test('keeps the last 64 and counts all', async () => {
    const { host } = await startHost();
    for (let index = 0; index < 70; index++) await host.admin({ opcode: 0x7f });
    const data = await host.allocate(3 * PAGE);
    await getLog(host, data, { id: LogPageId.errorInformation, bytes: 4096 });
    for (let index = 0; index < 64; index++) expect(field(data, ErrorEntry.count, 64 * index)).toBe(70 - index);
    await getLog(host, data, { id: LogPageId.smart });
    expect(field(data, SmartLog.errorEntries)).toBe(70);
  });
});

describe('the SMART log', () => {
  test('counts what was read and written', async () => {
    const { host } = await startHost({ namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }] });
    const pair = await host.createPair(1);
    const data = await host.allocate(2 * PAGE);
    const send = (opcode: number, count: number): Promise<RawCompletion> =>
      host.io(pair, { opcode, nsid: 1, prp1: data.at(0), prp2: data.at(PAGE), words: blocks(0, count) });
    for (let index = 0; index < 126; index++) await send(NvmOpcode.write, 16);
    for (let index = 0; index < 3; index++) await send(NvmOpcode.read, 1);
    await send(NvmOpcode.compare, 1);
    await send(NvmOpcode.writeZeroes, 16);
    const log = await host.allocate(2 * PAGE);
    expect((await getLog(host, log, { id: LogPageId.smart, nsid: 0 })).status).toBe(0);
    // 126 * 16 * 512 bytes are 2.016 thousands of 512 bytes, rounded up.
    expect(field(log, SmartLog.dataUnitsWritten)).toBe(3);
    expect(field(log, SmartLog.dataUnitsRead)).toBe(1);
    expect(field(log, SmartLog.writeCommands)).toBe(126);
    expect(field(log, SmartLog.readCommands)).toBe(4);
    expect(field(log, SmartLog.mediaErrors)).toBe(0);
    expect(field(log, SmartLog.availableSpare)).toBe(100);
    expect(field(log, SmartLog.powerCycles)).toBe(1);
  });

  test('is of the controller, not of a namespace', async () => {
    const { host } = await startHost();
    expect((await getLog(host, await host.allocate(PAGE), { id: LogPageId.smart, nsid: 1 })).status).toBe(Status.invalidField);
  });

  test('shows readings that were set, and the warnings that follow from them', async () => {
    const { backing, host } = await startHost();
    const log = await host.allocate(2 * PAGE);
    const warnings = async (): Promise<number> => {
      await getLog(host, log, { id: LogPageId.smart });
      return field(log, SmartLog.criticalWarning);
    };
    expect(await warnings()).toBe(0);
    await host.run(backing.setHealth({ temperature: 400, availableSpare: 5, percentageUsed: 120, criticalWarning: CriticalWarning.readOnly }));
    expect(await warnings()).toBe(CriticalWarning.readOnly | CriticalWarning.temperature | CriticalWarning.spare);
    expect(field(log, SmartLog.temperature)).toBe(400);
    expect(field(log, SmartLog.percentageUsed)).toBe(120);
    await host.run(backing.setHealth({ temperature: 300, availableSpare: 50, criticalWarning: 0 }));
    expect(await warnings()).toBe(0);
  });
});

describe('asynchronous events', () => {
  const configure = (host: RawNvme, bits: number): Promise<RawCompletion> =>
    host.admin({ opcode: AdminOpcode.setFeatures, words: { [Sqe.cdw10]: FeatureId.asynchronousEventConfiguration, [Sqe.cdw11]: bits } });
  const request = (host: RawNvme): number => host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
  const dword0 = (type: number, information: number, page: number): number => type | (information << 8) | (page << 16);

  test('four requests can be outstanding, a fifth is refused', async () => {
    const { backing, host } = await startHost();
    for (let index = 0; index < 4; index++) request(host);
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    const fifth = request(host);
    expect(await host.completion(host.adminCompletion)).toMatchObject({ commandId: fifth, status: Status.eventRequestLimitExceeded });
  });

  test('a critical warning that was asked for is told, once, until its page is read', async () => {
    const { backing, host } = await startHost();
    await configure(host, CriticalWarning.temperature);
    const ids = [request(host), request(host)];
    await host.run(backing.setHealth({ temperature: 400 }));
    expect(await host.completion(host.adminCompletion)).toMatchObject({
      commandId: ids[0],
      status: 0,
      dword0: dword0(EventType.smart, SmartEvent.temperatureThreshold, LogPageId.smart),
    });
    await host.run(backing.setHealth({ temperature: 300 }));
    await host.run(backing.setHealth({ temperature: 400 }));
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    const log = await host.allocate(2 * PAGE);
    await getLog(host, log, { id: LogPageId.errorInformation });
    await getLog(host, log, { id: LogPageId.smart, retain: true });
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    // Reading the page unmasks the type: what waited is told at once, before the completion of the command itself.
    const page = host.write(host.adminSubmission, {
      opcode: AdminOpcode.getLogPage,
      prp1: log.at(0),
      words: { [Sqe.cdw10]: LogPageId.smart | (127 << 16) },
    });
    host.ring(host.adminSubmission);
    const both = [await host.completion(host.adminCompletion), await host.completion(host.adminCompletion)];
    expect(both.map(({ commandId }) => commandId).toSorted((a, b) => a - b)).toEqual([ids[1], page]);
  });

  test.each([
    ['spare', { availableSpare: 5 }, CriticalWarning.spare, SmartEvent.spareBelowThreshold],
    ['reliability', { criticalWarning: CriticalWarning.reliability }, CriticalWarning.reliability, SmartEvent.reliability],
    ['read-only media', { criticalWarning: CriticalWarning.readOnly }, CriticalWarning.readOnly, SmartEvent.reliability],
    ['backup', { criticalWarning: CriticalWarning.volatileBackup }, CriticalWarning.volatileBackup, SmartEvent.reliability],
  ])('%s is told if it was asked for, and only then', async (_name, readings, bit, information) => {
    const { backing, host } = await startHost();
    request(host);
    await configure(host, 0x1f & ~bit);
    await host.run(backing.setHealth(readings));
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
    await host.run(backing.setHealth({ availableSpare: 100, criticalWarning: 0 }));
    await configure(host, bit);
    await host.run(backing.setHealth(readings));
    expect((await host.completion(host.adminCompletion)).dword0).toBe(dword0(EventType.smart, information, LogPageId.smart));
  });

  test('a threshold that is set below the temperature warns', async () => {
    const { host } = await startHost();
    await configure(host, CriticalWarning.temperature);
    const id = request(host);
    const set = host.submit(host.adminSubmission, {
      opcode: AdminOpcode.setFeatures,
      words: { [Sqe.cdw10]: FeatureId.temperatureThreshold, [Sqe.cdw11]: 300 },
    });
    const ids = [(await host.completion(host.adminCompletion)).commandId, (await host.completion(host.adminCompletion)).commandId];
    expect(ids.toSorted((a, b) => a - b)).toEqual([id, set]);
  });

  test('an event that comes before its request waits, each kind once', async () => {
    const { backing, host } = await startHost();
    await configure(host, EventConfiguration.namespaceAttribute);
    await host.run(backing.changeNamespace(1));
    await host.run(backing.changeNamespace(1));
    await host.run(backing.injectEvent({ type: EventType.vendor, information: 3 }));
    const ids = [request(host), request(host), request(host)];
    expect(await host.completion(host.adminCompletion)).toMatchObject({
      commandId: ids[0],
      dword0: dword0(EventType.notice, 0, LogPageId.changedNamespaces),
    });
    expect(await host.completion(host.adminCompletion)).toMatchObject({ commandId: ids[1], dword0: dword0(EventType.vendor, 3, 0) });
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
  });

  test('changed namespaces are listed until the list is read', async () => {
    const { backing, host } = await startHost({ namespaces: [{ bytes: MIB }, { bytes: MIB }, { bytes: MIB }] });
    await host.run(backing.changeNamespace(3));
    await host.run(backing.changeNamespace(1));
    const log = await host.allocate(3 * PAGE);
    await getLog(host, log, { id: LogPageId.changedNamespaces, bytes: 4096, retain: true });
    expect(Array.from(log.u32.slice(0, 3))).toEqual([1, 3, 0]);
    await getLog(host, log, { id: LogPageId.changedNamespaces, bytes: 4096 });
    expect(Array.from(log.u32.slice(0, 3))).toEqual([1, 3, 0]);
    await getLog(host, log, { id: LogPageId.changedNamespaces, bytes: 4096 });
    expect(Array.from(log.u32.slice(0, 3))).toEqual([0, 0, 0]);
  });

  test('too many changed namespaces are told as such', async () => {
    const { backing, host } = await startHost();
    for (let id = 1; id <= 1025; id++) await host.run(backing.changeNamespace(id));
    const log = await host.allocate(3 * PAGE);
    await getLog(host, log, { id: LogPageId.changedNamespaces, bytes: 4096 });
    expect(Array.from(log.u32.slice(0, 2))).toEqual([0xffff_ffff, 0]);
  });

  test('requests are gone after a reset', async () => {
    const { backing, host } = await startHost();
    request(host);
    await quiet(backing, 2);
    await host.disable();
    await host.enable();
    await host.run(backing.injectEvent({ type: EventType.vendor, information: 1 }));
    await quiet(backing, 2);
    expect(host.peek(host.adminCompletion)).toBeUndefined();
  });
});

test('what an operator may set and inject is checked', async () => {
  const { backing } = await startHost();
  const wrong = [
    backing.injectEvent({ type: 8, information: 0 }),
    backing.injectEvent({ type: 0, information: 256 }),
    backing.setHealth({ temperature: -1 }),
    backing.setHealth({ availableSpare: 101 }),
    backing.setHealth({ percentageUsed: NaN }),
    backing.setHealth({ criticalWarning: 32 }),
    backing.changeNamespace(0),
    backing.changeNamespace(2 ** 32),
    backing.setReadyDelay(NaN),
  ];
  for (const task of wrong) expect(() => task.next()).toThrow(RangeError);
});

describe('Abort', () => {
  const abort = (host: RawNvme, queue: number, id: number): Promise<RawCompletion> =>
    host.admin({ opcode: AdminOpcode.abort, words: { [Sqe.cdw10]: (queue | (id << 16)) >>> 0 } });

  test('ends an event request, and says when there was nothing to end', async () => {
    const { backing, host } = await startHost();
    const id = host.submit(host.adminSubmission, { opcode: AdminOpcode.asynchronousEventRequest });
    await quiet(backing, 2);
    const command = host.submit(host.adminSubmission, { opcode: AdminOpcode.abort, words: { [Sqe.cdw10]: (id << 16) >>> 0 } });
    expect(await host.completion(host.adminCompletion)).toMatchObject({ commandId: id, status: Status.abortRequested, doNotRetry: false });
    expect(await host.completion(host.adminCompletion)).toMatchObject({ commandId: command, status: 0, dword0: 0 });
    expect(await abort(host, 0, id)).toMatchObject({ status: 0, dword0: 1 });
    expect(await abort(host, 5, 77)).toMatchObject({ status: 0, dword0: 1 });
  });

  test('ends a command that hangs', async () => {
    const { backing, host } = await startHost();
    const pair = await host.createPair(1);
    await host.run(backing.setFaults([{ match: { queue: 'io' }, action: { kind: 'hang' } }]));
    const id = host.submit(pair.submission, { opcode: NvmOpcode.flush, nsid: 1 });
    await quiet(backing, 2);
    expect(await abort(host, 1, id)).toMatchObject({ status: 0, dword0: 0 });
    expect(await host.completion(pair.completion)).toMatchObject({ commandId: id, status: Status.abortRequested });
  });
});
