/**
 * The operations that a client may ask for, and the right that each one needs.
 *
 * The numbers are ours and have nothing to do with a device's opcodes: a client never names an opcode, and there is no operation for an
 * administrative command.
 */

/** Access rights of a share, one bit each. */
export const Right = { none: 0, read: 0x01, write: 0x02 } as const;

/** Operation codes of block devices. Zero is never valid, so an entry of zeros is refused. */
export const Operation = { read: 1, write: 2, flush: 3, writeZeroes: 4, compare: 5, deallocate: 6 } as const;
export type OperationName = keyof typeof Operation;

/** The largest operation code; every code from 1 to this one is assigned. */
export const LAST_OPERATION = 6;

/** Which way the data of an operation goes, seen from the device. */
export const Direction = { none: 0, deviceReads: 1, deviceWrites: 2 } as const;

export interface OperationFacts {
  readonly name: OperationName | 'none';
  /** The bit of {@link Right} that the share must hold. */
  readonly right: number;
  /** One of {@link Direction}. Compare sends data to the device as a write does, but tells about content as a read does. */
  readonly data: number;
  /** Whether `lba` and `blocks` of the entry name a range. */
  readonly blocks: boolean;
  /** Whether the memory that the entry names is an attachment, fetched and judged by the server, and never reached by the device. */
  readonly attachment: boolean;
}

/** What each operation needs, indexed by operation code. Index 0 is not an operation. */
export const OPERATIONS: readonly OperationFacts[] = [
  { name: 'none', right: Right.none, data: Direction.none, blocks: false, attachment: false },
  { name: 'read', right: Right.read, data: Direction.deviceWrites, blocks: true, attachment: false },
  { name: 'write', right: Right.write, data: Direction.deviceReads, blocks: true, attachment: false },
  { name: 'flush', right: Right.none, data: Direction.none, blocks: false, attachment: false },
  { name: 'writeZeroes', right: Right.write, data: Direction.none, blocks: true, attachment: false },
  { name: 'compare', right: Right.read, data: Direction.deviceReads, blocks: true, attachment: false },
  { name: 'deallocate', right: Right.write, data: Direction.none, blocks: false, attachment: true },
];

/** Every operation as a mask of `1 << code`, which is how a share lists what it grants. */
export const ALL_OPERATIONS = 0b111_1110;
