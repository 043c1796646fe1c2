/** What a function is, read from its configuration space once: all that its virtual configuration spaces are made from. */
import type { BarInfo, ConfigSpace } from '../backing.js';
import { HardwareError, type Task } from '../task.js';
import { readMsixAt, type MsixCapability } from './msix.js';
import { CONFIG_BYTES, CapabilityId, EXTENDED_CAPABILITIES, EXTENDED_CONFIG_BYTES, Header, NO_DEVICE, StatusBit } from './spec.js';
import type { RomShadow } from './rom.js';
import { SHOWN_CAPABILITIES } from './virtual-registers.js';

/** Bytes of the header; capabilities lie behind it. */
const HEADER_BYTES = 0x40;

export interface Capability {
  readonly id: number;
  readonly offset: number;
}

export interface ExtendedCapability extends Capability {
  readonly version: number;
}

export interface FunctionSnapshot {
  /** Bytes of configuration space: 256 or 4096. */
  readonly bytes: number;
  /** The first 256 bytes, as far as they are shown: the header and the capabilities that have a table. The others are zero. */
  readonly content: Uint8Array;
  /** In the order of the function's list. */
  readonly capabilities: readonly Capability[];
  readonly extended: readonly ExtendedCapability[];
  readonly bars: readonly BarInfo[];
  readonly msix: MsixCapability | undefined;
  /** Undefined where there is no ROM, or none that is valid. */
  readonly rom: RomShadow | undefined;
}

/**
 * Reads the function, and nothing that it is not known to be safe to read: reading can have effects in registers that nobody here knows. It is claimed.
 * @throws HardwareError `lost` when it does not answer.
 */
export function* takeSnapshot(config: ConfigSpace, bars: readonly BarInfo[], rom: RomShadow | undefined): Task<FunctionSnapshot> {
  const content = new Uint8Array(CONFIG_BYTES);
  yield* copy(config, content, 0, HEADER_BYTES);
  const capabilities = yield* listCapabilities(config, content);
  for (const { id, offset } of capabilities) {
    const table = SHOWN_CAPABILITIES.get(id);
    if (table === undefined) continue;
    yield* copy(config, content, offset, 4);
    yield* copy(config, content, offset, Math.min(table.bytes(content[offset + 2] | (content[offset + 3] << 8)), CONFIG_BYTES - offset));
  }
  const extended = yield* listExtended(config);
  const msixOffset = capabilities.find(({ id }) => id === CapabilityId.msix)?.offset;
  const msix = msixOffset === undefined ? undefined : yield* readMsixAt(config, bars, msixOffset);
  // A function that went away in the middle, or that is being reset, answers all ones.
  if (content[0] === 0xff || (yield* config.read16(Header.vendorId)) === NO_DEVICE) throw new HardwareError('lost', 'the function does not answer');
  const bytes = config.bytes >= EXTENDED_CONFIG_BYTES ? EXTENDED_CONFIG_BYTES : CONFIG_BYTES;
  return { bytes, content, capabilities, extended, bars, msix, rom };
}

/** Reads whole 32-bit words; `offset` is a multiple of four. */
function* copy(config: ConfigSpace, content: Uint8Array, offset: number, bytes: number): Task<void> {
  const view = new DataView(content.buffer);
  for (let at = offset; at < offset + bytes; at += 4) view.setUint32(at, yield* config.read32(at), true);
}

/** The list as far as it makes sense: it ends where it leaves its space, or comes back to where it was. */
function* listCapabilities(config: ConfigSpace, header: Uint8Array): Task<Capability[]> {
  if ((header[Header.status] & StatusBit.capabilities) === 0) return [];
  const found: Capability[] = [];
  let offset = header[Header.capabilities] & ~3;
  while (offset >= HEADER_BYTES && !found.some((other) => other.offset === offset)) {
    const head = yield* config.read16(offset);
    found.push({ id: head & 0xff, offset });
    offset = (head >>> 8) & ~3;
  }
  return found;
}

/** Likewise (PCI Express Base 3.0, 7.9.1): id in bits 15:0, version in 19:16, the next one above. */
function* listExtended(config: ConfigSpace): Task<ExtendedCapability[]> {
  const found: ExtendedCapability[] = [];
  let offset = EXTENDED_CAPABILITIES;
  while (offset >= EXTENDED_CAPABILITIES && offset <= config.bytes - 4 && !found.some((other) => other.offset === offset)) {
    const head = yield* config.read32(offset);
    if (head === 0 || head === 0xffff_ffff) break;
    found.push({ id: head & 0xffff, version: (head >>> 16) & 0xf, offset });
    offset = (head >>> 20) & ~3;
  }
  return found;
}
