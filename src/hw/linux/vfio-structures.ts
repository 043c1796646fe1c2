/**
 * What VFIO answers (include/uapi/linux/vfio.h): structures of the kernel with a chain of capabilities behind them. Each capability has identifier (16 bits), version
 * (16 bits) and the offset of the next from the start of the structure (32 bits; 0: the last).
 */
import { HardwareError } from '../task.js';

/** Indices of regions and interrupts of a PCI function. */
export const VfioRegion = { config: 7 } as const;
export const VfioIrq = { intx: 0, msi: 1, msix: 2, error: 3, request: 4 } as const;
/** Kinds of IOMMU. */
export const VfioIommu = { type1v2: 3, none: 8 } as const;
export const VfioDeviceFlag = { reset: 0x1 } as const;

const RegionFlag = { mmap: 0x4, capabilities: 0x8 } as const;
const RegionCapability = { sparse: 1 } as const;
const IommuFlag = { capabilities: 0x2 } as const;
const IommuCapability = { ranges: 1 } as const;
/** Bytes of the head of a capability. */
const HEAD_BYTES = 8;
const MOST_CAPABILITIES = 64;

/** Room for any of these structures. */
export const STRUCTURE_BYTES = 4_096;

/** From `start` to `end`, both inside. Addresses above 2^53 are cut off. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface Capability {
  readonly id: number;
  readonly version: number;
  /** From its head to the end of the structure: nothing says how long a capability is. */
  readonly body: DataView;
}

/**
 * The chain that begins at `offset` of `bytes` of a structure.
 * @throws HardwareError `protocol` for a chain that leaves the structure or has no end.
 */
export function capabilityChain(structure: Uint8Array, bytes: number, offset: number): Capability[] {
  const view = viewOf(structure, bytes);
  const chain: Capability[] = [];
  for (let at = offset; at !== 0; at = view.getUint32(at + 4, true)) {
    if (at > view.byteLength - HEAD_BYTES) throw new HardwareError('protocol', `a capability of VFIO at ${at} of ${view.byteLength} bytes`);
    if (chain.length === MOST_CAPABILITIES) throw new HardwareError('protocol', 'the capabilities of VFIO have no end');
    const body = new DataView(view.buffer, view.byteOffset + at, view.byteLength - at);
    chain.push({ id: view.getUint16(at, true), version: view.getUint16(at + 2, true), body });
  }
  return chain;
}

/** struct vfio_device_info. */
export function parseDevice(structure: Uint8Array): { flags: number; regions: number; irqs: number } {
  const view = viewOf(structure, 16);
  return { flags: view.getUint32(4, true), regions: view.getUint32(8, true), irqs: view.getUint32(12, true) };
}

/** struct vfio_irq_info: interrupts of this kind. */
export function parseIrqCount(structure: Uint8Array): number {
  return viewOf(structure, 16).getUint32(12, true);
}

export interface RegionFacts {
  readonly bytes: number;
  /** Where it begins in the device's file. */
  readonly offset: number;
  /** It can be mapped as a whole. */
  readonly mappable: boolean;
  /** Parts that can be mapped, where that is not all. */
  readonly sparse: readonly Range[];
}

/** struct vfio_region_info: argsz, flags, index, cap_offset (32 bits each), size, offset (64). */
export function parseRegion(structure: Uint8Array, bytes: number): RegionFacts {
  const view = viewOf(structure, bytes);
  const flags = view.getUint32(4, true);
  const chain = (flags & RegionFlag.capabilities) === 0 ? [] : capabilityChain(structure, bytes, view.getUint32(12, true));
  const areas = chain.find(({ id }) => id === RegionCapability.sparse);
  const sparse = areas === undefined ? [] : parseAreas(areas.body);
  const mappable = (flags & RegionFlag.mmap) !== 0 && areas === undefined;
  return { bytes: wholeNumber(view, 16), offset: wholeNumber(view, 24), mappable, sparse };
}

/** struct vfio_region_info_cap_sparse_mmap: count and padding, then offset and size of each area. */
function parseAreas(body: DataView): Range[] {
  const count = body.getUint32(HEAD_BYTES, true);
  if (!(count <= (body.byteLength - HEAD_BYTES - 8) / 16)) throw new HardwareError('protocol', `${count} areas do not fit into their capability`);
  return Array.from({ length: count }, (_, index) => {
    const start = wholeNumber(body, HEAD_BYTES + 8 + 16 * index);
    return { start, end: start + wholeNumber(body, HEAD_BYTES + 16 + 16 * index) - 1 };
  });
}

/** struct vfio_iommu_type1_info (argsz, flags, page sizes (64), cap_offset): the addresses that may be used; all, where the kernel does not say. */
export function parseIommu(structure: Uint8Array, bytes: number): Range[] {
  const view = viewOf(structure, bytes);
  const all = [{ start: 0, end: 2 ** 32 - 1 }];
  if ((view.getUint32(4, true) & IommuFlag.capabilities) === 0) return all;
  const ranges = capabilityChain(structure, bytes, view.getUint32(16, true)).find(({ id }) => id === IommuCapability.ranges);
  if (ranges === undefined) return all;
  const { body } = ranges;
  const count = body.getUint32(HEAD_BYTES, true);
  if (!(count <= (body.byteLength - HEAD_BYTES - 8) / 16)) throw new HardwareError('protocol', `${count} ranges do not fit into their capability`);
  return Array.from({ length: count }, (_, index) => ({
    start: wholeNumber(body, HEAD_BYTES + 8 + 16 * index),
    end: wholeNumber(body, HEAD_BYTES + 16 + 16 * index),
  }));
}

function wholeNumber(view: DataView, at: number): number {
  const value = view.getBigUint64(at, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

/** @throws HardwareError `protocol` when the kernel says that there is more than was asked for. */
function viewOf(structure: Uint8Array, bytes: number): DataView {
  if (!(bytes <= structure.length)) throw new HardwareError('protocol', `a structure of VFIO has ${bytes} bytes`);
  return new DataView(structure.buffer, structure.byteOffset, bytes);
}
