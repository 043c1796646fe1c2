import { createHash } from 'node:crypto';

/** UUID of a namespace: RFC 9562, version 8, a hash of the controller's serial number and the namespace's identifier. 16 bytes. */
export function namespaceUuid(serial: string, id: number): Uint8Array {
  const uuid = new Uint8Array(createHash('sha256').update(`ringwarden ${serial} ${id}`).digest().subarray(0, 16));
  uuid[6] = (uuid[6] & 0x0f) | 0x80;
  uuid[8] = (uuid[8] & 0x3f) | 0x80;
  return uuid;
}
