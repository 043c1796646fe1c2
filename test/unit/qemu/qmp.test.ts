import * as fc from 'fast-check';
import { fstatSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Qmp } from '../../../src/hw/qemu/qmp.js';
import type { Task } from '../../../src/hw/task.js';
import { shm } from '../../../src/native/shm.js';
import { Peer, TestFate } from './peer.js';

const LIMIT = 100;
const GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}\r\n';
let peer: Peer;
let fate: TestFate;
let now: number;
let qmp: Qmp;
beforeEach(() => {
  peer = new Peer();
  fate = new TestFate();
  now = 0;
  qmp = new Qmp(peer.ours, fate, () => now, LIMIT);
});
afterEach(() => peer.close());

const WAITING = Symbol('waiting');
function step<T>(task: Task<T>): T | typeof WAITING {
  const { done, value } = task.next();
  return done === true ? value : WAITING;
}

/** The command that was heard. */
function heard(): { execute: string; arguments: unknown; id: number } {
  return JSON.parse(peer.heard()) as { execute: string; arguments: unknown; id: number };
}

test('negotiates, and tells the version', () => {
  const task = qmp.negotiate();
  expect(step(task)).toBe(WAITING);
  peer.say(GREETING);
  expect(step(task)).toBe(WAITING);
  const { execute, id } = heard();
  expect(execute).toBe('qmp_capabilities');
  peer.say(`{"return": {}, "id": ${id}}\r\n`);
  expect(step(task)).toBe('7.2.22');
  expect(qmp.empty).toBe(true);
});

test('runs a command and returns what it returns, past events', () => {
  const task = qmp.execute('add', { size: 5, name: 'a"b' });
  expect(step(task)).toBe(WAITING);
  const { execute, arguments: parameters, id } = heard();
  expect([execute, parameters]).toEqual(['add', { size: 5, name: 'a"b' }]);
  peer.say('{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}\r\n');
  peer.say(`{"id": ${id}, "return": [1, {"x": null}]}\r\n`);
  expect(step(task)).toEqual([1, { x: null }]);
});

test('what QEMU refuses is an error with its reason, and costs nothing else', () => {
  const task = qmp.execute('device_add', {});
  step(task);
  peer.say(`{"id": ${heard().id}, "error": {"class": "GenericError", "desc": "no such thing"}}\r\n`);
  expect(() => step(task)).toThrow(expect.objectContaining({ code: 'protocol', message: 'QEMU refuses device_add: no such thing' }));
  const next = qmp.execute('query', {});
  step(next);
  peer.say(`{"id": ${heard().id}, "return": 1}\r\n`);
  expect([step(next), fate.lost]).toEqual([1, undefined]);
});

test('one command at a time, in the order in which they are asked again', () => {
  const [first, second] = [qmp.execute('first', {}), qmp.execute('second', {})];
  step(first);
  step(second);
  const { execute, id } = heard();
  expect(execute).toBe('first');
  peer.say(`{"id": ${id}, "return": 1}\r\n`);
  expect(step(second)).toBe(WAITING);
  expect(step(first)).toBe(1);
  expect(step(second)).toBe(WAITING);
  peer.say(`{"id": ${heard().id}, "return": 2}\r\n`);
  expect(step(second)).toBe(2);
});

test('the answer to an abandoned command is nobody else`s', () => {
  const abandoned = qmp.execute('first', {});
  step(abandoned);
  const old = heard().id;
  abandoned.return(0);
  const next = qmp.execute('second', {});
  step(next);
  const { id } = heard();
  peer.say(`{"id": ${old}, "return": "old"}\r\n{"return": "none"}\r\n{"id": "${id}", "return": "text"}\r\n`);
  expect(step(next)).toBe(WAITING);
  peer.say(`{"id": ${id}, "return": "new"}\r\n`);
  expect(step(next)).toBe('new');
});

test('a descriptor travels with its command', () => {
  const file = shm().memfdCreate('qmp', 4096);
  const task = qmp.execute('add-fd', {}, file);
  step(task);
  const { text, descriptors } = peer.heardWithDescriptors();
  expect(JSON.parse(text)).toMatchObject({ execute: 'add-fd' });
  expect(descriptors.map((fd) => fstatSync(fd).ino)).toEqual([fstatSync(file).ino]);
  for (const fd of [file, ...descriptors]) shm().close(fd);
});

test('a descriptor that is none is the caller`s mistake, not the device`s', () => {
  expect(() => step(qmp.execute('add-fd', {}, 0x7fff_fff0))).toThrow(expect.objectContaining({ code: 'EBADF' }));
  expect(fate.lost).toBeUndefined();
  expect(step(qmp.execute('next', {}))).toBe(WAITING);
  expect(heard().execute).toBe('next');
});

test('removals are noted for devices that somebody waits for, and no others', () => {
  const event = (device: unknown) => peer.say(`${JSON.stringify({ event: 'DEVICE_DELETED', data: { device, path: '/x' } })}\r\n`);
  qmp.expectRemoval('one');
  event('two');
  event(5);
  peer.say('{"event": "DEVICE_DELETED"}\r\n{"event": "DEVICE_DELETED", "data": null}\r\n');
  expect(qmp.drain()).toBe(4);
  expect([qmp.wasRemoved('one'), qmp.wasRemoved('two')]).toEqual([false, false]);
  event('one');
  qmp.drain();
  expect(qmp.wasRemoved('one')).toBe(true);
  qmp.forgetRemoval('one');
  expect(qmp.wasRemoved('one')).toBe(false);
});

describe('a peer that breaks the protocol loses the device', () => {
  test.each([
    ['no JSON', 'hello\n'],
    ['a number', '17\n'],
    ['null', 'null\n'],
    ['a list', '[{"QMP": 1}]\n'],
    ['half an object', '{"QMP": \n'],
    ['an empty line', '\n'],
    ['a line without end', `{"event": "${'x'.repeat(70_000)}`],
    ['lists within lists', `${'['.repeat(60_000)}\n`],
  ])('%s', (_name, text) => {
    const task = qmp.execute('x', {});
    step(task);
    peer.say(text);
    for (let i = 0; i < 4; i++) qmp.drain();
    expect(fate.lost).toMatch(/^QMP: /);
    expect(() => step(task)).toThrow(expect.objectContaining({ code: 'lost', message: fate.lost }));
  });

  test('any JSON at all', () => {
    fc.assert(
      fc.property(fc.array(fc.json({ maxDepth: 3 }), { maxLength: 10 }), (values) => {
        const one = new Peer();
        const its = new TestFate();
        const victim = new Qmp(one.ours, its, () => 0, LIMIT);
        const task = victim.execute('x', {});
        step(task);
        for (const value of values) one.say(`${value.replaceAll('\n', '')}\n`);
        victim.drain();
        try {
          step(task);
        } catch (error) {
          expect(error).toMatchObject({ name: 'HardwareError' });
        }
        one.close();
      }),
    );
  });

  test('an answer of a strange shape is still an answer', () => {
    for (const answer of ['"error": 5', '"error": null', '"error": {"desc": {}}']) {
      const task = qmp.execute('x', {});
      step(task);
      peer.say(`{"id": ${heard().id}, ${answer}}\n`);
      expect(() => step(task)).toThrow(expect.objectContaining({ code: 'protocol' }));
    }
    expect(fate.lost).toBeUndefined();
  });
});

describe('a peer that says nothing', () => {
  test('loses the device after the limit', () => {
    const task = qmp.execute('slow', {});
    step(task);
    now = LIMIT - 1;
    expect(step(task)).toBe(WAITING);
    now = LIMIT;
    expect(() => step(task)).toThrow(expect.objectContaining({ code: 'lost', message: `QMP: no answer to slow within ${LIMIT} ms` }));
  });

  test('and reads nothing loses it too', () => {
    const chunk = new Uint8Array(65_536);
    while (shm().send(peer.ours, chunk, 0, chunk.length) > 0);
    const task = qmp.execute('x', {});
    expect(step(task)).toBe(WAITING);
    now = LIMIT;
    expect(() => {
      step(task);
      step(task);
    }).toThrow(expect.objectContaining({ code: 'lost', message: 'QMP: QEMU does not read what it is sent' }));
  });

  test('ends when the process ends', () => {
    const task = qmp.execute('x', {});
    step(task);
    peer.end();
    expect(() => step(task)).toThrow(expect.objectContaining({ code: 'lost', message: 'QMP: QEMU has ended' }));
    expect(() => step(qmp.execute('y', {}))).toThrow(expect.objectContaining({ code: 'lost' }));
  });
});
