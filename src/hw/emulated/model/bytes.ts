/** Filling in data structures by the tables of the specification. */
import type { ByteField } from '../../nvme/spec/index.js';

/** Writes a number, little-endian, into a field of up to 16 bytes; `value` must be a whole number below 2^53. */
export function putNumber(bytes: Uint8Array, field: ByteField, value: number, base = 0): void {
  let rest = value;
  for (let index = 0; index < field.bytes; index++) {
    bytes[base + field.at + index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** Writes ASCII text, padded with spaces and cut to the field. */
export function putText(bytes: Uint8Array, field: ByteField, text: string, base = 0): void {
  for (let index = 0; index < field.bytes; index++) bytes[base + field.at + index] = index < text.length ? text.charCodeAt(index) & 0x7f : 0x20;
}
