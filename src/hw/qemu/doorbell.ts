/**
 * How an interrupt message of the device becomes an eventfd that a thread can sleep on.
 *
 * The machine holds a second device, `ivshmem-doorbell`: a write of `peer << 16 | vector` to its register signals an eventfd that a peer has
 * registered (QEMU, docs/specs/ivshmem-spec.rst). The MSI-X table (or the MSI capability) of the device aims at that register, and this process is the peer. So
 * each vector has its own eventfd, counted by the kernel, and no memory of the server is a target of messages.
 */
import { shm } from '../../native/shm.js';
import { BAR_MEMORY } from './address-map.js';
import type { Message } from '../pci/index.js';

/** Messages of the ivshmem server protocol: 8 bytes, little-endian, some with a descriptor. */
const PROTOCOL_VERSION = 0;
const SHARED_MEMORY = -1;
/** Ours is the lower one, so that a message has no more than the 16 bits that MSI can send. */
const OUR_ID = 0;
const QEMU_ID = 1;
/** The device insists on shared memory beside the doorbell. Nobody maps it. */
const SHARED_BYTES = 4096;

/** BAR 0 of the doorbell device, the first of the machine, and its doorbell register. */
export const DOORBELL_BAR = BAR_MEMORY.start;
export const DOORBELL_BAR_BYTES = 256;
const DOORBELL_REGISTER = 0x0c;

/** The message that signals the eventfd of `vector`. */
export function doorbellMessage(vector: number): Message {
  return { addressLow: DOORBELL_BAR + DOORBELL_REGISTER, addressHigh: 0, data: (OUR_ID << 16) | vector };
}

/**
 * Says everything that an ivshmem server says: QEMU reads it from the socket when it starts. Nothing is ever said back.
 * @throws Error if it does not fit into the socket.
 */
export function introduceDoorbell(socket: number, vectors: readonly number[]): void {
  const memory = shm().memfdCreate('ringwarden:doorbell', SHARED_BYTES);
  try {
    say(socket, PROTOCOL_VERSION);
    say(socket, QEMU_ID);
    for (const vector of vectors) say(socket, OUR_ID, vector);
    say(socket, SHARED_MEMORY, memory);
  } finally {
    shm().close(memory);
  }
}

function say(socket: number, value: number, descriptor?: number): void {
  const message = new Uint8Array(8);
  new DataView(message.buffer).setBigInt64(0, BigInt(value), true);
  const sent = descriptor === undefined ? shm().send(socket, message, 0, 8) : shm().sendDescriptors(socket, message, [descriptor]);
  if (sent !== 8) throw new Error('the introduction of the doorbell does not fit into its socket');
}
