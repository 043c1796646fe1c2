/** The list of capabilities in configuration space (PCI Local Bus 3.0, 6.7). The function writes it, so it is not believed. */
import type { ConfigSpace } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { CONFIG_BYTES, Header, StatusBit } from './spec.js';

/** Capabilities lie behind the header, on multiples of four. */
const FIRST_OFFSET = 0x40;
const MOST_CAPABILITIES = (CONFIG_BYTES - FIRST_OFFSET) / 4;

/**
 * Offset of the first capability with this id; undefined if the function has none.
 * @throws HardwareError `protocol` for a list that leaves its space or has no end.
 */
export function* findCapability(config: ConfigSpace, id: number): Task<number | undefined> {
  if (((yield* config.read16(Header.status)) & StatusBit.capabilities) === 0) return undefined;
  let offset = (yield* config.read8(Header.capabilities)) & ~3; // the low two bits are reserved
  for (let count = 0; offset !== 0; count++) {
    if (offset < FIRST_OFFSET) throw new HardwareError('protocol', `a capability at ${offset}, inside the header`);
    if (count === MOST_CAPABILITIES) throw new HardwareError('protocol', 'the list of capabilities has no end');
    const head = yield* config.read16(offset);
    if ((head & 0xff) === id) return offset;
    offset = (head >>> 8) & ~3;
  }
  return undefined;
}
