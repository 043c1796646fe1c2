/** Rules about who sent an entry and whether it is one that this protocol knows: they come before any rule about what it asks for. */
import { Code, EntryWord } from '../protocol/index.js';
import { NEEDS } from './needs.js';
import type { LeaseState } from './types.js';

const { head: HEAD, generation: GENERATION, lease: LEASE, queue: QUEUE, reserved: RESERVED } = EntryWord;
const { leaseNotActive, leaseMismatch, queueMismatch, staleGeneration, reservedBits, unknownOperation, unknownFlag } = Code;

/**
 * The entry belongs to the lease and the queue whose ring it came from, and was written after the last reset (R04). The ring decides whose
 * entry it is; the entry repeats it so that a client that mixes up its own queues is told, and so that nothing from before a reset acts after it.
 */
export function leaseRule(entry: Uint32Array, lease: LeaseState): number {
  if (!lease.active) return leaseNotActive;
  if (entry[LEASE] !== lease.lease) return leaseMismatch;
  if ((entry[QUEUE] & 0xffff) !== lease.queue) return queueMismatch;
  return entry[GENERATION] === lease.generation ? 0 : staleGeneration;
}

/** Reserved bits are zero, so that a later version can give them a meaning that no client of today asks for by accident. */
export function reservedRule(entry: Uint32Array): number {
  const reserved = (entry[QUEUE] >>> 16) | entry[RESERVED] | entry[RESERVED + 1] | entry[RESERVED + 2];
  return reserved === 0 ? 0 : reservedBits;
}

/**
 * The operation is assigned, and every flag is one that it takes. There is no code for an administrative or fused command, so none can be
 * asked for; `inline` is resolved by the session and never valid here.
 */
export function operationRule(entry: Uint32Array): number {
  const operation = entry[HEAD] & 0xff;
  if (operation === 0 || operation >= NEEDS.length) return unknownOperation;
  const flags = (entry[HEAD] >>> 8) & 0xff;
  return (flags & ~NEEDS[operation].flags) === 0 ? 0 : unknownFlag;
}
