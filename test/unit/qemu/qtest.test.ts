import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Qtest } from '../../../src/hw/qemu/qtest.js';
import type { Task } from '../../../src/hw/task.js';
import { Peer, TestFate } from './peer.js';

const LIMIT = 100;
let peer: Peer;
let fate: TestFate;
let now: number;
let qtest: Qtest;
beforeEach(() => {
  peer = new Peer();
  fate = new TestFate();
  now = 0;
  qtest = new Qtest(peer.ours, fate, () => now, LIMIT);
});
afterEach(() => peer.close());

/** Steps a task once; undefined while it waits. */
function step<T>(task: Task<T>): T | undefined {
  const { done, value } = task.next();
  return done === true ? value : undefined;
}

describe('lines', () => {
  test.each<[start: () => unknown, line: string]>([
    [() => qtest.postMemory(0xc000_1000, 4, 0xffff_ffff), 'writel 0xc0001000 0xffffffff'],
    [() => qtest.postMemory(0xc000_1000, 2, 0x12), 'writew 0xc0001000 0x00000012'],
    [() => qtest.postMemory(0xffff_ffff, 1, 0), 'writeb 0xffffffff 0x00000000'],
    [() => qtest.postMemory64(0xc000_0028, 0x1234_5678, 0x9abc_def0), 'writeq 0xc0000028 0x123456789abcdef0'],
    [() => qtest.postPort(0xcf8, 4, 0x8000_0060), 'outl 0x00000cf8 0x80000060'],
    [() => qtest.postPort(0xa14, 1, 8), 'outb 0x00000a14 0x00000008'],
    [() => qtest.postPort(0x10, 2, 8), 'outw 0x00000010 0x00000008'],
    [() => step(qtest.writeMemory(0xb000_0004, 2, 6)), 'writew 0xb0000004 0x00000006'],
    [() => step(qtest.writePort(0xa00, 4, 6)), 'outl 0x00000a00 0x00000006'],
    [() => step(qtest.readMemory(0x10, 1)), 'readb 0x00000010'],
    [() => step(qtest.readMemory(0x10, 2)), 'readw 0x00000010'],
    [() => step(qtest.readMemory(0x10, 4)), 'readl 0x00000010'],
    [() => step(qtest.readMemory64(0xc000_0000)), 'readq 0xc0000000'],
    [() => step(qtest.readPort(0xcfc, 1)), 'inb 0x00000cfc'],
    [() => step(qtest.readPort(0xcfc, 2)), 'inw 0x00000cfc'],
    [() => step(qtest.readPort(0xcfc, 4)), 'inl 0x00000cfc'],
  ])('%#: %s', (start, line) => {
    start();
    expect(peer.heard()).toBe(`${line}\n`);
  });
});

test('reads give what QEMU answers, cut to their width', () => {
  const ask = <T>(task: Task<T>, answer: string): T | undefined => {
    expect(step(task)).toBeUndefined();
    peer.say(answer);
    return step(task);
  };
  expect(ask(qtest.readMemory(0, 1), 'OK 0x00000000000000a5\n')).toBe(0xa5);
  expect(ask(qtest.readMemory(0, 2), 'OK 0x000000000000ffff\n')).toBe(0xffff);
  expect(ask(qtest.readMemory(0, 4), 'OK 0x00000000fedcba98\n')).toBe(0xfedc_ba98);
  expect(ask(qtest.readMemory64(0), 'OK 0xfedcba9876543210\n')).toBe(0xfedc_ba98_7654_3210n);
  expect(ask(qtest.readPort(0, 4), 'OK 0xffffffff\n')).toBe(0xffff_ffff);
  expect(ask(qtest.readPort(0, 2), 'OK 0x1f234\n')).toBe(0xf234);
  expect(fate.lost).toBeUndefined();
});

test('posted writes go out at once, many before the first answer; answers find their reads', () => {
  qtest.postMemory(1, 1, 1);
  const first = qtest.readMemory(2, 1);
  expect(step(first)).toBeUndefined();
  qtest.postMemory(3, 1, 3);
  const second = qtest.readMemory(4, 1);
  expect(step(second)).toBeUndefined();
  expect(peer.heard().split('\n')).toHaveLength(5);
  peer.say('OK\nOK 0x11\nOK\nOK 0x2');
  expect(qtest.drain()).toBe(3);
  expect(step(second)).toBeUndefined();
  expect(step(first)).toBe(0x11);
  peer.say('2\n');
  expect(step(second)).toBe(0x22);
});

test('a read that is abandoned leaves the order of answers as it is', () => {
  const abandoned = qtest.readMemory(0, 4);
  step(abandoned);
  abandoned.return(0);
  const read = qtest.readMemory(4, 4);
  step(read);
  peer.say('OK 0x1\nOK 0x2\n');
  expect(step(read)).toBe(2);
  expect(fate.lost).toBeUndefined();
});

test('the counters start again, and nothing is mixed up', () => {
  for (let round = 0; round < 3; round++) {
    qtest.postMemory(0, 4, round);
    const read = qtest.readMemory(4, 4);
    step(read);
    peer.say(`OK\nOK 0x${round}\n`);
    expect(step(read)).toBe(round);
  }
  peer.say('OK\n');
  qtest.drain();
  expect(fate.lost).toContain('what nobody asked');
});

describe('a peer that breaks the protocol loses the device', () => {
  test.each([
    ['no answer at all', 'FAIL Unknown command\n'],
    ['an empty line', '\n'],
    ['a value where none is due', 'OK 0x1\nOK 0x1\n'],
    ['no value where one is due', 'OK\nOK\n'],
    ['no digits', 'OK\nOK 0x\n'],
    ['digits that are none', 'OK\nOK 0x12g4\n'],
    ['large digits', 'OK\nOK 0xAB\n'],
    ['too many digits', 'OK\nOK 0x00000000000000001\n'],
    ['a negative value', 'OK\nOK -1\n'],
    ['something behind the value', 'OK\nOK 0x1 \n'],
    ['an interrupt that nobody asked for', 'IRQ raise 3\n'],
    ['a line without end', 'x'.repeat(4096)],
    ['bytes of zero', '\0\0\0\n'],
  ])('%s', (_name, answer) => {
    qtest.postMemory(0, 4, 0);
    const read = qtest.readMemory(0, 4);
    step(read);
    peer.say(answer);
    qtest.drain();
    qtest.drain();
    expect(fate.lost).toMatch(/^qtest: /);
    expect(() => step(read)).toThrow(expect.objectContaining({ code: 'lost', message: fate.lost }));
  });

  test('any bytes at all', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.constantFrom('OK\n', 'OK 0x5\n', 'OK', '\n').map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        const one = new Peer();
        const its = new TestFate();
        const victim = new Qtest(one.ours, its, () => 0, LIMIT);
        const reads = [victim.readMemory(0, 4), victim.readMemory(0, 1)];
        for (const bytes of pieces) {
          victim.postMemory(0, 4, 0);
          one.say(bytes);
          victim.drain();
          for (const read of reads) {
            try {
              const value = step(read);
              if (value !== undefined) expect(value >>> 0).toBe(value);
            } catch (error) {
              expect(error).toMatchObject({ code: 'lost' });
            }
          }
        }
        one.close();
      }),
    );
  });
});

describe('a peer that says nothing', () => {
  test('loses the device when a read has waited for the limit', () => {
    const read = qtest.readMemory(0, 4);
    expect(step(read)).toBeUndefined();
    now = LIMIT;
    expect(step(read)).toBeUndefined();
    now = LIMIT + 1;
    expect(() => step(read)).toThrow(expect.objectContaining({ code: 'lost', message: `qtest: QEMU has not answered for ${LIMIT} ms` }));
  });

  test('loses the device when a posted write has, which polling finds out', () => {
    now = 1000;
    qtest.postMemory(0, 4, 0);
    now = 1000 + LIMIT;
    qtest.checkLimit();
    expect(fate.lost).toBeUndefined();
    now++;
    qtest.checkLimit();
    expect(fate.lost).toContain('has not answered');
  });

  test('is well as long as it answers something in time', () => {
    for (let i = 0; i < 10; i++) qtest.postMemory(0, 4, 0);
    for (let i = 0; i < 10; i++) {
      now += LIMIT;
      peer.say('OK\n');
      qtest.drain();
      qtest.checkLimit();
    }
    now += 10 * LIMIT; // nothing is unanswered
    qtest.checkLimit();
    expect(fate.lost).toBeUndefined();
  });

  test('and reads nothing: posted writes never wait, and in the end lose the device', () => {
    for (let i = 0; i < 1_000_000 && fate.lost === undefined; i++) qtest.postMemory(0xc000_1000, 4, i);
    expect(fate.lost).toContain('does not read');
  });
});

test('what the socket does not take is sent later, unharmed', () => {
  const wanted: string[] = [];
  for (let i = 0; i < 2000; i++) {
    qtest.postMemory(0xc000_1000, 4, i);
    wanted.push(`writel 0xc0001000 0x${i.toString(16).padStart(8, '0')}`);
  }
  expect(fate.lost).toBeUndefined();
  let heard = peer.heard();
  for (let i = 0; i < 100; i++) {
    qtest.drain();
    heard += peer.heard();
  }
  expect(heard.trimEnd().split('\n')).toEqual(wanted);
});

test('the end of QEMU ends every access, before and after', () => {
  const read = qtest.readMemory(0, 4);
  step(read);
  peer.end();
  expect(() => step(read)).toThrow(expect.objectContaining({ code: 'lost' }));
  expect(fate.lost).toBe('qtest: QEMU has ended');
  qtest.postMemory(0, 4, 0); // dropped
  expect(() => step(qtest.readMemory(0, 4))).toThrow(expect.objectContaining({ code: 'lost' }));
  expect(qtest.drain()).toBe(0);
});

test('a write to a QEMU that has ended loses the device', () => {
  peer.end();
  qtest.postMemory(0, 4, 0);
  expect(fate.lost).toBe('qtest: QEMU has ended');
});
