import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { shm, type Shm } from '../../../src/native/shm.js';
import { descriptorCount, mappingsOf } from './support.js';

/** What may stand at a place of a call: a good value for the call, and its kind, which tells what must be refused there. */
type Kind = 'whole' | 'signed' | 'flag' | 'text' | 'bytes' | 'ints' | 'buffer' | 'list' | 'program' | 'texts' | 'function' | 'operation';
interface Argument {
  readonly kind: Kind;
  readonly good: unknown;
}

const name = 'arguments-test';
const file = shm().memfdCreate(name, 8192);
const [left, right] = shm().socketpair();
const epoll = shm().epollCreate();
const event = shm().eventfd();
/** A view whose buffer is gone. */
function detached<View extends ArrayBufferView>(view: View): View {
  structuredClone(view.buffer, { transfer: [view.buffer as ArrayBuffer] });
  return view;
}

const whole = (good: number): Argument => ({ kind: 'whole', good });
const bytes: Argument = { kind: 'bytes', good: new Uint8Array(16) };

const calls: Record<keyof Shm, readonly Argument[]> = {
  memfdCreate: [{ kind: 'text', good: name }, whole(4096)],
  hugeCreate: [{ kind: 'text', good: name }, whole(4096)],
  addSeals: [whole(file), whole(0)],
  getSeals: [whole(file)],
  map: [whole(file), whole(0), whole(4096), { kind: 'flag', good: true }],
  unmap: [{ kind: 'buffer', good: undefined }],
  guard: [{ kind: 'buffer', good: undefined }],
  close: [whole(file)],
  duplicate: [whole(file)],
  openReadOnly: [whole(file)],
  eventfd: [],
  eventfdSignal: [whole(event)],
  eventfdTake: [whole(event)],
  epollCreate: [],
  epollControl: [whole(epoll), { kind: 'operation', good: 'add' }, whole(event), { kind: 'signed', good: 1 }, whole(1)],
  epollWait: [whole(epoll), { kind: 'ints', good: new Int32Array(8) }, { kind: 'signed', good: 0 }],
  socketpair: [],
  connect: [{ kind: 'text', good: '/nowhere' }],
  receive: [whole(left), bytes, whole(0), whole(16)],
  peek: [whole(left), bytes, whole(0), whole(16)],
  send: [whole(left), bytes, whole(0), whole(16)],
  sendDescriptors: [whole(left), bytes, { kind: 'list', good: [event] }],
  receiveDescriptors: [whole(right), bytes, whole(16)],
  peerCredentials: [whole(left)],
  lock: [whole(file)],
  forbidDump: [],
  execute: [{ kind: 'program', good: '/nowhere' }, { kind: 'texts', good: ['nowhere'] }, { kind: 'texts', good: [] }, whole(file)],
  confine: [whole(0), { kind: 'flag', good: false }, { kind: 'flag', good: false }],
  notify: [
    { kind: 'text', good: '/nowhere' },
    { kind: 'program', good: 'READY=1' },
  ],
  getppid: [whole(1)],
  yieldProcessor: [],
  createWaker: [{ kind: 'function', good: () => {} }],
  wake: [whole(1)],
  closeWaker: [whole(1)],
  signalBind: [whole(event), whole(0), whole(0)],
  signalRaise: [whole(4096), whole(1)],
  signalEnd: [whole(4096)],
  signalCounters: [whole(4096)],
  closeElsewhere: [whole(event), whole(0)],
  closeConnection: [whole(event), { kind: 'flag', good: true }],
  canCloseElsewhere: [whole(0)],
  refuseDescriptors: [whole(left)],
};

const notNumbers = ['1', undefined, null, {}, [1], true, 1n, Symbol('one'), () => 1];
const notWhole = [NaN, 0.5, 1e300, Infinity, -Infinity, 2 ** 53];
const notArrays = [undefined, null, 1, 'bytes', [1, 2], {}, new ArrayBuffer(16), new DataView(new ArrayBuffer(16)), new Float64Array(4)];

/** Values that must be refused: [TypeError, RangeError]. */
const hostile: Record<Kind, readonly [types: readonly unknown[], ranges: readonly unknown[]]> = {
  whole: [notNumbers, [...notWhole, -1]],
  signed: [notNumbers, [...notWhole, -(2 ** 53)]],
  flag: [[undefined, null, 0, 1, 'true', {}], []],
  text: [
    [undefined, null, 1, {}, Symbol('name')],
    ['a\0b', 'x'.repeat(250), '\u20ac'.repeat(84)],
  ],
  bytes: [
    [...notArrays, new Int8Array(16), new Uint8ClampedArray(16), new Uint32Array(4)],
    [new Uint8Array(0), detached(new Uint8Array(16))],
  ],
  ints: [
    [...notArrays, new Uint8Array(64), new Uint32Array(16)],
    [new Int32Array(0), new Int32Array(1), detached(new Int32Array(16))],
  ],
  buffer: [
    [
      ...notArrays.filter((value) => !(value instanceof ArrayBuffer)),
      new ArrayBuffer(8),
      new ArrayBuffer(0),
      detached(new Uint8Array(16)).buffer,
      new SharedArrayBuffer(8),
    ],
    [],
  ],
  list: [
    [undefined, null, 1, '1', { length: 1, 0: 1 }, new Int32Array(1), ['1'], [{}]],
    [[], [-1], [0.5], [NaN], [2 ** 31], Array(17).fill(event)],
  ],
  program: [
    [undefined, null, 1, {}, Symbol('name')],
    ['a\0b', 'x'.repeat(2 ** 17)],
  ],
  texts: [
    [undefined, null, 1, '1', { length: 1, 0: '1' }, new Int32Array(1), [1], [undefined], [{}]],
    [['a\0b'], ['x'.repeat(2 ** 17)], Array(2 ** 16 + 1).fill('')],
  ],
  function: [[undefined, null, 1, 'f', {}], []],
  operation: [
    [undefined, null, 1, {}],
    ['', 'ADD', 'remove', 'add-and-more'],
  ],
};

const rows = Object.entries(calls).flatMap(([call, taken]) => taken.map((argument, at) => ({ call: call as keyof Shm, taken, argument, at })));

function invoke(call: keyof Shm, values: readonly unknown[]): unknown {
  return (shm()[call] as (...values: readonly unknown[]) => unknown)(...values);
}

let before = 0;
beforeAll(() => {
  before = descriptorCount();
});
afterAll(() => {
  for (const fd of [file, left, right, epoll, event]) shm().close(fd);
});

describe('every argument is checked', () => {
  test.each(rows)('$call, argument $at', ({ call, taken, argument, at }) => {
    const [types, ranges] = hostile[argument.kind];
    const withValue = (value: unknown) => taken.map((other, index) => (index === at ? value : other.good));
    for (const value of types) expect(() => invoke(call, withValue(value)), `${call} ${inspect(value)}`).toThrow(TypeError);
    for (const value of ranges) expect(() => invoke(call, withValue(value)), `${call} ${inspect(value)}`).toThrow(RangeError);
    expect(descriptorCount()).toBe(before);
    expect(mappingsOf(name)).toEqual([]);
  });

  test('ranges inside a byte array are checked without overflow', () => {
    const sixteen = new Uint8Array(16);
    for (const call of [shm().send, shm().receive, shm().peek]) {
      for (const [at, length] of [
        [0, 17],
        [1, 16],
        [16, 1],
        [17, 1],
        [0, 0],
        [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
        [8, Number.MAX_SAFE_INTEGER],
      ]) {
        expect(() => call(left, sixteen, at, length)).toThrow(RangeError);
      }
    }
  });

  test('an array whose element detaches the bytes sends nothing', () => {
    const doomed = new Uint8Array(16);
    const list = [event];
    Object.defineProperty(list, 0, {
      get: () => {
        detached(doomed);
        return event;
      },
    });
    expect(() => shm().sendDescriptors(left, doomed, list)).toThrow(RangeError);
    expect(shm().receive(right, new Uint8Array(16), 0, 16)).toBe(-1);
  });

  test('what an element throws comes out as it is', () => {
    const reason = new Error('from the getter');
    const list = [event];
    Object.defineProperty(list, 0, {
      get: () => {
        throw reason;
      },
    });
    expect(() => shm().sendDescriptors(left, new Uint8Array(1), list)).toThrow(reason);
  });
});

test('a descriptor that is not open is EBADF with the name of the call', () => {
  const closed = shm().eventfd();
  shm().close(closed);
  const failing: [call: () => unknown, syscall: string][] = [
    [() => shm().addSeals(closed, 0), 'fcntl'],
    [() => shm().getSeals(closed), 'fcntl'],
    [() => shm().map(closed, 0, 4096, false), 'fstat'],
    [() => shm().close(closed), 'close'],
    [() => shm().duplicate(closed), 'fcntl'],
    [() => shm().eventfdSignal(closed), 'write'],
    [() => shm().eventfdTake(closed), 'read'],
    [() => shm().epollControl(epoll, 'add', closed, 1, 1), 'epoll_ctl'],
    [() => shm().epollWait(closed, new Int32Array(2), 0), 'epoll_wait'],
    [() => shm().receive(closed, new Uint8Array(1), 0, 1), 'recvmsg'],
    [() => shm().peek(closed, new Uint8Array(1), 0, 1), 'recv'],
    [() => shm().send(closed, new Uint8Array(1), 0, 1), 'send'],
    [() => shm().sendDescriptors(closed, new Uint8Array(1), [event]), 'sendmsg'],
    [() => shm().sendDescriptors(left, new Uint8Array(1), [closed]), 'sendmsg'],
    [() => shm().receiveDescriptors(closed, new Uint8Array(1), 1), 'recvmsg'],
    [() => shm().peerCredentials(closed), 'getsockopt'],
    [() => shm().lock(closed), 'flock'],
    [() => shm().execute('/nowhere', [], [], closed), 'fcntl'],
  ];
  for (const [call, syscall] of failing) expect(call).toThrow(expect.objectContaining({ code: 'EBADF', syscall, errno: -9 }));
});
