import { describe, expect, test } from 'vitest';
import { AdminOpcode, FeatureId, FeatureSelect, Sqe, Status } from '../../../src/hw/nvme/spec/index.js';
import { type RawCompletion, RawNvme } from '../../support/raw-nvme.js';
import { MIB, startHost } from './world.js';

const ALL = 0xffff_ffff;

function set(host: RawNvme, id: number, value: number, nsid = 0): Promise<RawCompletion> {
  return host.admin({ opcode: AdminOpcode.setFeatures, nsid, words: { [Sqe.cdw10]: id, [Sqe.cdw11]: value } });
}

function get(
  host: RawNvme,
  id: number,
  { select = 0, value = 0, nsid = 0 }: { select?: number; value?: number; nsid?: number } = {},
): Promise<RawCompletion> {
  return host.admin({ opcode: AdminOpcode.getFeatures, nsid, words: { [Sqe.cdw10]: id | (select << 8), [Sqe.cdw11]: value } });
}

describe('plain features', () => {
  test.each([
    ['arbitration', FeatureId.arbitration, 3, 0xffff_ffff, 0xffff_ff07],
    ['power management', FeatureId.powerManagement, 0, 0xe0, 0],
    ['volatile write cache', FeatureId.volatileWriteCache, 1, 0xffff_fffe, 0],
    ['interrupt coalescing', FeatureId.interruptCoalescing, 0, 0xffff_1234, 0x1234],
    ['write atomicity', FeatureId.writeAtomicityNormal, 0, 0xffff_ffff, 1],
    ['event configuration', FeatureId.asynchronousEventConfiguration, 0, 0xffff_ffff, 0x11f],
  ])('%s: default, what is kept of a value, capabilities, and the default again after a reset', async (_name, id, initial, value, kept) => {
    const { host } = await startHost();
    expect(await get(host, id)).toMatchObject({ status: 0, dword0: initial });
    expect((await set(host, id, value)).status).toBe(0);
    expect((await get(host, id)).dword0).toBe(kept);
    expect((await get(host, id, { select: FeatureSelect.default })).dword0).toBe(initial);
    expect((await get(host, id, { select: FeatureSelect.saved })).dword0).toBe(initial);
    expect((await get(host, id, { select: FeatureSelect.supportedCapabilities })).dword0).toBe(4);
    await host.disable();
    await host.enable();
    expect((await get(host, id)).dword0).toBe(initial);
  });

  test.each([0x00, FeatureId.lbaRangeType, 0x0c, 0x0d, 0x10, 0x7f, 0x80, 0xc0])('feature %i is not there', async (id) => {
    const { host } = await startHost();
    expect((await set(host, id, 0)).status).toBe(Status.invalidField);
    expect((await get(host, id)).status).toBe(Status.invalidField);
  });

  test('nothing can be saved, or selected beyond what there is', async () => {
    const { host } = await startHost();
    const words = { [Sqe.cdw10]: (FeatureId.arbitration | 0x8000_0000) >>> 0 };
    expect((await host.admin({ opcode: AdminOpcode.setFeatures, words })).status).toBe(Status.featureNotSaveable);
    for (const select of [4, 5, 6, 7]) expect((await get(host, FeatureId.arbitration, { select })).status).toBe(Status.invalidField);
  });

  test('are not of a namespace', async () => {
    const { host } = await startHost();
    expect((await set(host, FeatureId.arbitration, 0, 1)).status).toBe(Status.featureNotNamespaceSpecific);
    expect((await set(host, FeatureId.arbitration, 0, ALL)).status).toBe(0);
  });

  test('there is one power state', async () => {
    const { host } = await startHost();
    for (const state of [1, 2, 31]) expect((await set(host, FeatureId.powerManagement, state)).status).toBe(Status.invalidField);
  });
});

describe('number of queues', () => {
  test('grants what is asked for, up to what there is', async () => {
    const { host } = await startHost({ queuePairs: 8 });
    expect((await get(host, FeatureId.numberOfQueues)).dword0).toBe(0x0007_0007);
    expect((await set(host, FeatureId.numberOfQueues, 0x0003_0005)).dword0).toBe(0x0003_0005);
    expect((await get(host, FeatureId.numberOfQueues)).dword0).toBe(0x0003_0005);
    expect((await set(host, FeatureId.numberOfQueues, 0xfffe_fffe)).dword0).toBe(0x0007_0007);
    expect((await get(host, FeatureId.numberOfQueues, { select: 1 })).dword0).toBe(0x0007_0007);
  });

  test('queues beyond those granted cannot be made', async () => {
    const { host } = await startHost({ queuePairs: 8 });
    await set(host, FeatureId.numberOfQueues, 0x0001_0000);
    await host.createCompletionQueue(2, 16);
    await expect(host.createCompletionQueue(3, 16)).rejects.toThrow('0x101');
    await expect(host.createSubmissionQueue(2, 16, 2)).rejects.toThrow('0x101');
    await host.createSubmissionQueue(1, 16, 2);
  });

  test('refuses 65536 queues, and changes once there were queues', async () => {
    const { host } = await startHost();
    expect((await set(host, FeatureId.numberOfQueues, 0xffff)).status).toBe(Status.invalidField);
    expect((await set(host, FeatureId.numberOfQueues, 0xffff_0000)).status).toBe(Status.invalidField);
    const pair = await host.createPair(1);
    expect((await set(host, FeatureId.numberOfQueues, 0)).status).toBe(Status.commandSequenceError);
    await host.deletePair(pair);
    expect((await set(host, FeatureId.numberOfQueues, 0)).status).toBe(Status.commandSequenceError);
    await host.disable();
    await host.enable();
    expect((await set(host, FeatureId.numberOfQueues, 0)).status).toBe(0);
  });
});

describe('temperature thresholds', () => {
  const OVER = 0;
  const UNDER = 1 << 20;
  test('are kept for the composite temperature', async () => {
    const { host } = await startHost();
    expect((await get(host, FeatureId.temperatureThreshold, { value: OVER })).dword0).toBe(343);
    expect((await get(host, FeatureId.temperatureThreshold, { value: UNDER })).dword0).toBe(0);
    expect((await set(host, FeatureId.temperatureThreshold, OVER | 350)).status).toBe(0);
    expect((await set(host, FeatureId.temperatureThreshold, UNDER | 270)).status).toBe(0);
    expect((await set(host, FeatureId.temperatureThreshold, OVER | (15 << 16) | 351)).status).toBe(0);
    expect((await get(host, FeatureId.temperatureThreshold, { value: OVER })).dword0).toBe(351);
    expect((await get(host, FeatureId.temperatureThreshold, { value: UNDER })).dword0).toBe(270);
    expect((await get(host, FeatureId.temperatureThreshold, { select: 1 })).dword0).toBe(343);
  });

  test.each([1 << 16, 14 << 16, 2 << 20, 3 << 20])('refuse other sensors and kinds (%i)', async (value) => {
    const { host } = await startHost();
    expect((await set(host, FeatureId.temperatureThreshold, value)).status).toBe(Status.invalidField);
    expect((await get(host, FeatureId.temperatureThreshold, { value })).status).toBe(Status.invalidField);
  });
});

describe('interrupt vector configuration', () => {
  test('is kept for each vector', async () => {
    const { host } = await startHost({ vectors: 3 });
    expect((await set(host, FeatureId.interruptVectorConfiguration, 0x1_0002)).status).toBe(0);
    expect((await get(host, FeatureId.interruptVectorConfiguration, { value: 2 })).dword0).toBe(0x1_0002);
    expect((await get(host, FeatureId.interruptVectorConfiguration, { value: 1 })).dword0).toBe(1);
    expect((await get(host, FeatureId.interruptVectorConfiguration, { value: 2, select: 1 })).dword0).toBe(2);
    expect((await set(host, FeatureId.interruptVectorConfiguration, 3)).status).toBe(Status.invalidField);
    expect((await get(host, FeatureId.interruptVectorConfiguration, { value: 3 })).status).toBe(Status.invalidField);
  });
});

describe('error recovery', () => {
  const NAMESPACES = [{ bytes: MIB }, { bytes: MIB }];
  test('is of a namespace', async () => {
    const { host } = await startHost({ namespaces: NAMESPACES });
    expect((await set(host, FeatureId.errorRecovery, 5, 2)).status).toBe(0);
    expect((await get(host, FeatureId.errorRecovery, { nsid: 1 })).dword0).toBe(0);
    expect((await get(host, FeatureId.errorRecovery, { nsid: 2 })).dword0).toBe(5);
    expect((await set(host, FeatureId.errorRecovery, 6, ALL)).status).toBe(0);
    for (const nsid of [1, 2]) expect((await get(host, FeatureId.errorRecovery, { nsid })).dword0).toBe(6);
    expect((await get(host, FeatureId.errorRecovery, { nsid: 1, select: 1 })).dword0).toBe(0);
    expect((await get(host, FeatureId.errorRecovery, { nsid: 1, select: 3 })).dword0).toBe(6);
  });

  test('refuses namespaces that are not there, and errors for deallocated blocks', async () => {
    const { host } = await startHost({ namespaces: NAMESPACES });
    for (const nsid of [0, 3]) expect((await set(host, FeatureId.errorRecovery, 0, nsid)).status).toBe(Status.invalidNamespace);
    for (const nsid of [0, 3, ALL]) expect((await get(host, FeatureId.errorRecovery, { nsid })).status).toBe(Status.invalidNamespace);
    expect((await set(host, FeatureId.errorRecovery, 0x1_0000, 1)).status).toBe(Status.invalidField);
  });
});
