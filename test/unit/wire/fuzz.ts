/** Hostile bytes, the same ones for the same seed. */
import { pack } from 'msgpackr';

/** mulberry32: whole numbers below `limit`. */
export function randomOf(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

const NUMBERS = [0, -0, 1, -1, 1.5, NaN, Infinity, -Infinity, 64, 255, 4_096, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 63, 1e300, 4_294_967_295];
const TYPES = [
  ...['hello', 'listDevices', 'setDomain', 'unsetDomain', 'openDevice', 'closeDevice', 'openQueue', 'closeQueue', 'mapMemory', 'unmapMemory'],
  ...['writeMemory', 'readMemory', 'resetLease', 'bindVector', 'deviceState', 'ping', 'submit', 'answer', '', 'toString', '__proto__'],
];
const FIELDS = [
  ...['version', 'tenant', 'token', 'client', 'domain', 'device', 'mode', 'queues', 'lease', 'entries', 'queue', 'bytes', 'region', 'offset', 'data'],
  ...['length', 'vector', 'enable', 'wait', 'other', '__proto__', 'constructor', 'hasOwnProperty'],
];

/** A message whose fields are of this protocol, and whose values may be anything. */
export function randomMessage(random: (limit: number) => number): Record<string, unknown> {
  const value = (depth: number): unknown => {
    switch (random(9)) {
      case 0:
      case 1:
      case 2:
        return NUMBERS[random(NUMBERS.length)];
      case 3:
        return random(2) === 0;
      case 4:
        return null;
      case 5:
        return new Uint8Array(random(4) * 64 + random(2));
      case 6:
        return depth > 3 ? 0 : Array.from({ length: random(4) }, () => value(depth + 1));
      case 7:
        return depth > 3 ? 0 : { a: value(depth + 1) };
      default:
        return ['disk', 'shared', 'own', 'exclusive', '', 'x'.repeat(random(300)), '\u0000', '…'][random(8)];
    }
  };
  const message: Record<string, unknown> = { type: random(20) === 0 ? value(0) : TYPES[random(TYPES.length)] };
  if (random(10) > 0) message['id'] = random(10) === 0 ? value(0) : 1 + random(1_000_000);
  for (let count = random(5); count > 0; count--)
    Object.defineProperty(message, FIELDS[random(FIELDS.length)], { value: value(0), enumerable: true, configurable: true });
  return message;
}

/** `count` messages: well-formed ones, ones with flipped, inserted, removed or repeated bytes, and noise. */
export function* fuzzed(count: number, seed: number): Generator<Buffer> {
  const random = randomOf(seed);
  for (let index = 0; index < count; index++) {
    if (random(4) === 0) {
      yield Buffer.from(Array.from({ length: random(64) }, () => random(256)));
      continue;
    }
    let bytes = Buffer.from(pack(randomMessage(random)));
    for (let changes = random(4); changes > 0 && bytes.length > 0; changes--) {
      const at = random(bytes.length);
      const kind = random(4);
      if (kind === 0) bytes[at] = random(256);
      else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.of(random(256)), bytes.subarray(at)]);
      else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(4))]);
      else bytes = Buffer.concat([bytes, bytes.subarray(at)]);
    }
    yield bytes;
  }
}
