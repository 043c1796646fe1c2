/** Frames of WebSocket (RFC 6455 5.2), as far as a launcher needs them. */

export const Opcode = { binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface Frame {
  readonly opcode: number;
  readonly payload: Uint8Array;
}

const FINAL = 0x80;
const MASKED = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/** A frame of a client, with up to 65535 bytes. Its mask is zero: there is no proxy here that it could protect. */
export function frameOf(opcode: number, payload: Uint8Array): Uint8Array {
  const short = payload.length < LENGTH_16;
  const head = short ? [payload.length | MASKED] : [LENGTH_16 | MASKED, payload.length >> 8, payload.length & 0xff];
  return Buffer.concat([Buffer.of(FINAL | opcode, ...head, 0, 0, 0, 0), payload]);
}

/** The frames of a server that are whole. */
export function framesIn(bytes: Uint8Array): Frame[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const frames: Frame[] = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    const kind = bytes[at + 1] & 0x7f;
    const begin = at + (kind === LENGTH_64 ? 10 : kind === LENGTH_16 ? 4 : 2);
    if (begin > bytes.length) break;
    const length = kind === LENGTH_64 ? Number(view.getBigUint64(at + 2)) : kind === LENGTH_16 ? view.getUint16(at + 2) : kind;
    if (length > bytes.length - begin) break;
    frames.push({ opcode: bytes[at] & 0x0f, payload: bytes.subarray(begin, begin + length) });
    at = begin + length;
  }
  return frames;
}
