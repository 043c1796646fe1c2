import { describe, expect, test } from 'vitest';
import * as spec from '../../src/hw/nvme/spec/index.js';
import type { BitField, ByteField } from '../../src/hw/nvme/spec/index.js';

/** Number of the first bit that the fields leave out or name twice; `width` when they tile it. */
function tiled(fields: Readonly<Record<string, BitField>>, width: number): number {
  const owners = Array.from({ length: width }, () => 0);
  for (const { at, width: bits } of Object.values(fields)) for (let bit = at; bit < at + bits; bit++) owners[bit]++;
  const wrong = owners.findIndex((count) => count !== 1);
  return wrong < 0 ? owners.length : wrong;
}

describe('registers', () => {
  test.each(spec.REGISTERS)('the fields of the register at %# tile it', (register) => {
    expect(tiled(register.fields, register.bits)).toBe(register.bits);
  });

  test('no field crosses a word, and reserved ones are named after their place', () => {
    for (const { fields } of spec.REGISTERS) {
      for (const [name, { at, width }] of Object.entries(fields)) {
        expect(Math.floor(at / 32)).toBe(Math.floor((at + width - 1) / 32));
        if (name.startsWith('reserved')) expect(name).toBe(`reserved${at}`);
      }
    }
  });

  test('registers do not overlap, and end before the doorbells', () => {
    let end = 0;
    for (const { offset, bits } of spec.REGISTERS) {
      expect(offset).toBeGreaterThanOrEqual(end);
      expect(offset % (bits / 8)).toBe(0);
      end = offset + bits / 8;
    }
    expect(end).toBeLessThanOrEqual(spec.DOORBELLS);
  });

  test('offsets are those of figure 68 of the specification', () => {
    const offsets = [0x00, 0x08, 0x0c, 0x10, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x30, 0x38, 0x3c];
    expect(spec.REGISTERS.map(({ offset }) => offset)).toEqual(offsets);
    expect(String.fromCharCode(...[24, 16, 8, 0].map((shift) => (spec.NSSR_RESET >>> shift) & 0xff))).toBe('NVMe');
  });

  test('doorbells alternate, a stride apart', () => {
    expect([spec.submissionDoorbell(0, 0), spec.completionDoorbell(0, 0), spec.submissionDoorbell(1, 0), spec.completionDoorbell(1, 0)]).toEqual([
      0x1000, 0x1004, 0x1008, 0x100c,
    ]);
    expect([spec.submissionDoorbell(3, 2), spec.completionDoorbell(3, 2)]).toEqual([0x1000 + 6 * 16, 0x1000 + 7 * 16]);
    expect(spec.completionDoorbell(65_535, 15)).toBe(0x1000 + 131_071 * 131_072);
  });
});

describe('fields', () => {
  const all = [...spec.REGISTERS.flatMap(({ fields }) => Object.values(fields)), ...Object.values(spec.CqeStatus), ...Object.values(spec.IoCdw12)];

  test('what is put is what is got, in either word, and nothing else', () => {
    for (const field of all) {
      for (const value of [0, 1, spec.fieldMax(field), Math.floor(spec.fieldMax(field) / 3)]) {
        const word = spec.putField(field, value);
        expect(word).toBeGreaterThanOrEqual(0);
        expect(field.at < 32 ? spec.getField(field, word, 0) : spec.getField(field, 0, word)).toBe(value);
        const inverted = ~word >>> 0;
        expect(field.at < 32 ? spec.getField(field, inverted, 0) : spec.getField(field, 0, inverted)).toBe(spec.fieldMax(field) - value);
      }
      expect(spec.putField(field, spec.fieldMax(field) + 1)).toBe(0);
    }
  });
});

describe('command Dwords', () => {
  const whole = {
    Cdw0: spec.Cdw0,
    QueueCdw10: spec.QueueCdw10,
    SubmissionQueueCdw11: spec.SubmissionQueueCdw11,
    CompletionQueueCdw11: spec.CompletionQueueCdw11,
    IdentifyCdw10: spec.IdentifyCdw10,
    LogPageCdw10: spec.LogPageCdw10,
    LogPageCdw11: spec.LogPageCdw11,
    GetFeaturesCdw10: spec.GetFeaturesCdw10,
    SetFeaturesCdw10: spec.SetFeaturesCdw10,
    NumberOfQueues: spec.NumberOfQueues,
    TemperatureThreshold: spec.TemperatureThreshold,
    InterruptVectorConfiguration: spec.InterruptVectorConfiguration,
    AbortCdw10: spec.AbortCdw10,
    EventDword0: spec.EventDword0,
    IoCdw12: spec.IoCdw12,
    DatasetCdw10: spec.DatasetCdw10,
    DatasetCdw11: spec.DatasetCdw11,
    CqeQueue: spec.CqeQueue,
    CqeStatus: spec.CqeStatus,
    LbaFormat: spec.LbaFormat,
  };
  test.each(Object.entries(whole))('%s is tiled', (_name, fields) => {
    expect(tiled(fields, 32)).toBe(32);
  });

  test('a completion status is found in its Dword', () => {
    const dword3 = (spec.Status.lbaOutOfRange << 17) | spec.COMPLETION_DO_NOT_RETRY | spec.COMPLETION_MORE | spec.COMPLETION_PHASE | 0x1234;
    expect(spec.statusOf(dword3)).toBe(spec.Status.lbaOutOfRange);
    expect(spec.statusOf((0x7ff << 17) >>> 0)).toBe(0x7ff);
    expect(spec.getField(spec.CqeStatus.dnr, dword3)).toBe(1);
    expect(spec.getField(spec.CqeStatus.m, dword3)).toBe(1);
    expect(spec.getField(spec.CqeStatus.p, dword3)).toBe(1);
    expect(spec.getField(spec.CqeStatus.cid, dword3)).toBe(0x1234);
  });
});

describe('data structures', () => {
  const structures: [string, Readonly<Record<string, ByteField>>, number][] = [
    ['Identify Controller', spec.IdentifyController, spec.IDENTIFY_BYTES],
    ['Identify Namespace', spec.IdentifyNamespace, spec.IDENTIFY_BYTES],
    ['error information entry', spec.ErrorEntry, spec.ERROR_ENTRY_BYTES],
    ['SMART log', spec.SmartLog, spec.SMART_BYTES],
    ['firmware slot log', spec.FirmwareLog, spec.FIRMWARE_BYTES],
    ['dataset range', spec.DatasetRange, spec.DATASET_RANGE_BYTES],
  ];
  test.each(structures)('%s is tiled by its fields', (_name, fields, bytes) => {
    let end = 0;
    for (const [name, { at, bytes: size }] of Object.entries(fields).sort(([, a], [, b]) => a.at - b.at)) {
      expect(at, name).toBe(end);
      end = at + size;
    }
    expect(end).toBe(bytes);
  });

  test('entries have the words that their sizes say', () => {
    expect(4 * spec.SUBMISSION_WORDS).toBe(spec.SUBMISSION_BYTES);
    expect(2 ** spec.SUBMISSION_SHIFT).toBe(spec.SUBMISSION_BYTES);
    expect(4 * spec.COMPLETION_WORDS).toBe(spec.COMPLETION_BYTES);
    expect(2 ** spec.COMPLETION_SHIFT).toBe(spec.COMPLETION_BYTES);
    expect(spec.PRPS_PER_PAGE * spec.PRP_BYTES).toBe(spec.PAGE_BYTES);
    expect(Object.values(spec.Sqe)).toEqual(Array.from({ length: 16 }, (_, index) => index));
  });
});

describe('numbers', () => {
  const tables: [string, Readonly<Record<string, number>>][] = [
    ['AdminOpcode', spec.AdminOpcode],
    ['NvmOpcode', spec.NvmOpcode],
    ['Cns', spec.Cns],
    ['FeatureId', spec.FeatureId],
    ['LogPageId', spec.LogPageId],
    ['Status', spec.Status],
    ['EventType', spec.EventType],
  ];
  test.each(tables)('%s names each number once', (_name, table) => {
    expect(new Set(Object.values(table)).size).toBe(Object.keys(table).length);
  });

  test('statuses are types and codes of eleven bits, and have names', () => {
    for (const [name, status] of Object.entries(spec.Status)) {
      expect(status).toBeLessThanOrEqual(0x7ff);
      expect(spec.statusName(status)).toBe(name);
    }
    expect(spec.statusName(0x7c0)).toBe('sct 7 sc 0xc0');
  });
});
