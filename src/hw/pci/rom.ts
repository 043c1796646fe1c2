/**
 * The expansion ROM (PCI Local Bus 3.0, 6.2.5.2 and 6.3): read once, into a shadow, and never decoded again.
 *
 * A function may decode its ROM with what else decodes its BARs: while the ROM is on, nobody may touch a BAR. So the shadow is made before the BARs have
 * addresses, and with the ROM off again before they get some (R19).
 */
import type { ConfigSpace } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { barRegister } from './bars.js';
import { BAR_COUNT, BAR_MEMORY_MASK, Command, Header, ROM_ADDRESS_MASK, ROM_ENABLE } from './spec.js';

/** Largest ROM that is shadowed. Those of storage and network controllers have a few hundred KiB; each is kept in memory, and read word by word. */
export const MAX_ROM_BYTES = 2 ** 20;

/** Header of an image: signature, and a pointer to the PCI data structure. */
const IMAGE_SIGNATURE = 0xaa55;
const DATA_POINTER = 0x18;
const DATA_SIGNATURE = 0x5249_4350; // "PCIR"
/** In the data structure: length of the image in units of 512 bytes, and whether it is the last one. */
const IMAGE_LENGTH = 0x10;
const INDICATOR = 0x15;
const LAST_IMAGE = 0x80;
const IMAGE_UNIT = 512;
const DATA_BYTES = 0x18;

export interface RomShadow {
  /** The images, without what may follow them. */
  readonly image: Uint8Array;
  /** Bytes that the register decodes: a power of two, not less than the image. */
  readonly decodedBytes: number;
}

/**
 * Reads the ROM of a function whose memory decode is off. `address` is free on the bus for {@link MAX_ROM_BYTES}; `read32` reads a word of the ROM there.
 * When it returns or throws, the ROM is off, and so is decode. Undefined: no ROM, one that is too large, or none that is valid.
 * @throws HardwareError
 */
export function* shadowRom(config: ConfigSpace, address: number, read32: (offset: number) => Task<number>): Task<RomShadow | undefined> {
  const before = yield* config.read16(Header.command);
  if ((before & Command.memory) !== 0) throw new HardwareError('protocol', 'the ROM is read with decode off');
  yield* config.write32(Header.expansionRom, ROM_ADDRESS_MASK);
  const mask = ((yield* config.read32(Header.expansionRom)) & ROM_ADDRESS_MASK) >>> 0;
  yield* config.write32(Header.expansionRom, 0);
  const decodedBytes = (-mask >>> 0) % 2 ** 32;
  if (mask === 0 || decodedBytes > MAX_ROM_BYTES || !Number.isInteger(Math.log2(decodedBytes))) return undefined;
  yield* checkNoBars(config);
  try {
    yield* config.write32(Header.expansionRom, (address | ROM_ENABLE) >>> 0);
    yield* config.write16(Header.command, before | Command.memory);
    const image = yield* readImages(read32, decodedBytes);
    return image && { image, decodedBytes };
  } finally {
    yield* config.write16(Header.command, before);
    yield* config.write32(Header.expansionRom, 0);
  }
}

/** Decode is one bit for all memory of the function: BARs that have an address would be decoded with the ROM. */
function* checkNoBars(config: ConfigSpace): Task<void> {
  for (let index = 0; index < BAR_COUNT; index++) {
    const value = yield* config.read32(barRegister(index));
    if ((value & 1) === 0 && (value & BAR_MEMORY_MASK) !== 0)
      throw new HardwareError('protocol', `the ROM is read before BAR ${index} has an address`);
  }
}

/** All images, one after the other; undefined when the first is none. What is wrong further on ends them. */
function* readImages(read32: (offset: number) => Task<number>, decodedBytes: number): Task<Uint8Array | undefined> {
  const rom = new Uint8Array(decodedBytes);
  const view = new DataView(rom.buffer);
  let end = 0;
  let last = false;
  while (!last && end <= decodedBytes - IMAGE_UNIT) {
    yield* fill(read32, view, end, end + IMAGE_UNIT);
    const data = end + view.getUint16(end + DATA_POINTER, true);
    if (view.getUint16(end, true) !== IMAGE_SIGNATURE || data > decodedBytes - DATA_BYTES || data % 4 !== 0) break;
    yield* fill(read32, view, data, data + DATA_BYTES);
    const bytes = view.getUint16(data + IMAGE_LENGTH, true) * IMAGE_UNIT;
    if (view.getUint32(data, true) !== DATA_SIGNATURE || bytes === 0 || bytes > decodedBytes - end) break;
    yield* fill(read32, view, end + IMAGE_UNIT, end + bytes);
    last = (rom[data + INDICATOR] & LAST_IMAGE) !== 0;
    end += bytes;
  }
  return end === 0 ? undefined : rom.slice(0, end);
}

function* fill(read32: (offset: number) => Task<number>, view: DataView, from: number, to: number): Task<void> {
  for (let at = from; at < to; at += 4) view.setUint32(at, yield* read32(at), true);
}
