/** How large the base address registers of a function are (PCI Local Bus 3.0, 6.2.5.1). */
import type { BarInfo, ConfigSpace } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { BAR_COUNT, BAR_IO_MASK, BAR_MEMORY_MASK, BarBit, Command, Header } from './spec.js';

/** Largest sizes: of ports by the specification, of memory by the address space (for 64 bits, as far as processors have it). */
const MAX_BYTES = { io: 256, memory32: 2 ** 31, memory64: 2 ** 47 } as const;

/** Offset of a base address register in configuration space. */
export function barRegister(index: number): number {
  return Header.bar0 + 4 * index;
}

/**
 * Sizes every BAR, and leaves the registers as they were. Decode must be off: in between, a register holds an address that is not its own.
 * @throws HardwareError `protocol` for a register that the specification does not allow.
 */
export function* sizeBars(config: ConfigSpace): Task<BarInfo[]> {
  if (((yield* config.read16(Header.command)) & (Command.io | Command.memory)) !== 0)
    throw new HardwareError('protocol', 'base address registers are sized with decode off');
  const bars: BarInfo[] = [];
  for (let index = 0; index < BAR_COUNT; index++) {
    const low = yield* probe(config, index);
    if (low === 0) continue;
    if ((low & BarBit.io) !== 0) {
      // The upper half may be hard-wired to zero.
      const bytes = sizeOf(index, ((low & BAR_IO_MASK) | 0xffff_0000) >>> 0, 0xffff_ffff, MAX_BYTES.io);
      bars.push({ index, kind: 'io', bytes, is64: false, prefetchable: false });
      continue;
    }
    const type = low & BarBit.typeMask;
    const is64 = type === BarBit.type64;
    if ((!is64 && type !== 0) || (is64 && index === BAR_COUNT - 1)) throw new HardwareError('protocol', `BAR ${index} is of no known type`);
    const high = is64 ? yield* probe(config, index + 1) : 0xffff_ffff;
    const bytes = sizeOf(index, (low & BAR_MEMORY_MASK) >>> 0, high, is64 ? MAX_BYTES.memory64 : MAX_BYTES.memory32);
    bars.push({ index, kind: 'memory', bytes, is64, prefetchable: (low & BarBit.prefetchable) !== 0 });
    if (is64) index++;
  }
  return bars;
}

/** What a register reads after all ones were written to it. */
function* probe(config: ConfigSpace, index: number): Task<number> {
  const register = barRegister(index);
  const before = yield* config.read32(register);
  yield* config.write32(register, 0xffff_ffff);
  const after = yield* config.read32(register);
  yield* config.write32(register, before);
  return after;
}

/** Bytes decoded by a register whose writable address bits are these: they are the highest ones, without a gap. */
function sizeOf(index: number, low: number, high: number, most: number): number {
  const size = Number(BigInt.asUintN(64, -((BigInt(high) << 32n) | BigInt(low))));
  const allowed = size > 0 && size <= most && Number.isInteger(Math.log2(size));
  if (!allowed) throw new HardwareError('protocol', `the writable bits of BAR ${index} are not a size`);
  return size;
}
