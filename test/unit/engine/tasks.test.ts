import { expect, test } from 'vitest';
import { HardwareError, sleep, until, type Task } from '../../../src/hw/task.js';
import { Mutex, Tasks } from '../../../src/server/engine/tasks.js';
import { TokenBucket } from '../../../src/server/engine/token-bucket.js';

function world() {
  let time = 0;
  const tasks = new Tasks(() => time);
  return { tasks, clock: () => time, advance: (ms: number) => (time += ms) };
}

test('a task is resumed until it returns, and its value is told once', () => {
  const { tasks } = world();
  const told: unknown[] = [];
  tasks.start(
    'count',
    (function* (): Task<number> {
      yield 5;
      yield 0;
      return 7;
    })(),
    (value) => told.push(value),
    (error) => told.push(error),
  );
  tasks.turn();
  expect(tasks.wait()).toBe(5);
  expect(tasks.turn()).toBe(0);
  expect(tasks.turn()).toBe(1);
  expect(tasks.turn()).toBe(0);
  expect(told).toEqual([7]);
  expect(tasks.wait()).toBe(Infinity);
});

test('a task that throws tells its error and disturbs no other', () => {
  const { tasks } = world();
  const told: unknown[] = [];
  const fails = (function* (): Task<void> {
    yield 0;
    throw new HardwareError('busy', 'no');
  })();
  const works = (function* (): Task<string> {
    yield 0;
    return 'done';
  })();
  tasks.start(
    'fails',
    fails,
    () => told.push('?'),
    (error) => told.push((error as HardwareError).code),
  );
  tasks.start(
    'works',
    works,
    (value) => told.push(value),
    () => told.push('?'),
  );
  tasks.turn();
  tasks.turn();
  expect(told).toEqual(['busy', 'done']);
});

test('until ends with timeout at its deadline, and sleep after its time', () => {
  const { clock, advance } = world();
  const waiting = until(clock, 10, 'the device', () => false);
  expect(waiting.next().done).toBe(false);
  advance(10);
  expect(() => waiting.next()).toThrow('the device: no answer within 10 ms');
  const sleeping = sleep(clock, 3);
  expect(sleeping.next()).toEqual({ done: false, value: 3 });
  advance(3);
  expect(sleeping.next().done).toBe(true);
});

test('a mutex lets one in at a time, in order, and goes on after an error', () => {
  const { tasks } = world();
  const mutex = new Mutex();
  const order: string[] = [];
  const section = (name: string, fails: boolean) =>
    mutex.run(function* (): Task<void> {
      order.push(`${name} in`);
      yield 0;
      order.push(`${name} out`);
      if (fails) throw new Error(name);
    });
  for (const [name, fails] of [
    ['a', true],
    ['b', false],
    ['c', false],
  ] as const) {
    tasks.start(
      name,
      section(name, fails),
      () => {},
      () => {},
    );
  }
  while (tasks.count > 0) tasks.turn();
  expect(order).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
});

test('a rate lets a burst through, then one at a time, and never more than its rate over a second', () => {
  const bucket = new TokenBucket(1000);
  let taken = 0;
  for (let now = 0; now < 1000; now += 0.1) {
    if (bucket.wait(now) > 0) continue;
    bucket.take(1);
    taken++;
  }
  expect(taken).toBeGreaterThan(990);
  expect(taken).toBeLessThanOrEqual(1101);
});

test('a large request overdraws once and then waits for its debt', () => {
  const bucket = new TokenBucket(1000);
  expect(bucket.wait(0)).toBe(0);
  bucket.take(1100);
  expect(bucket.wait(0)).toBeCloseTo(1000, 0);
  expect(bucket.wait(999)).toBeGreaterThan(0);
  expect(bucket.wait(1002)).toBe(0);
});

test('no rate is no limit', () => {
  const bucket = new TokenBucket(0);
  bucket.take(1e12);
  expect(bucket.wait(0)).toBe(0);
});
