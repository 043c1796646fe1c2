/** Makes a region usable on this engine's device: the file itself, or a copy of it. */
import type { Backing } from '../../hw/backing.js';
import { createMemoryFile, needsHugePages, type DeviceDomain } from '../../hw/dma/index.js';
import { HardwareError, type Task } from '../../hw/task.js';
import { shm } from '../../native/shm.js';
import type { RegionDma, RegionUse } from './api.js';

export interface RegionFile {
  readonly handle: number;
  readonly fd: number;
  readonly bytes: number;
  /** For the DMA audit. */
  readonly owner: string;
  readonly use: RegionUse;
  readonly dma: RegionDma;
}

/** `domainOf` finds, or makes, the domain of the region. Where its pages cannot be held in place, the device gets a copy. */
export function* attachRegion(backing: Backing, domainOf: () => DeviceDomain, region: RegionFile): Task<void> {
  if (region.dma === 'copied') return yield* attachCopy(backing, domainOf, region);
  try {
    yield* attachFile(backing, domainOf, region.fd, region.owner, region);
  } catch (error) {
    if (!(error instanceof HardwareError) || error.code !== 'unpinned') throw error;
    yield* attachCopy(backing, domainOf, region);
  }
}

function* attachFile(backing: Backing, domainOf: () => DeviceDomain, fd: number, owner: string, { handle, bytes, use }: RegionFile): Task<void> {
  const memory = yield* backing.attach(fd, bytes, { owner });
  try {
    const domain = domainOf();
    domain.add(handle, memory, use === 'staging');
    if (use === 'held') domain.hold(handle);
  } catch (error) {
    yield* backing.detach(memory);
    throw error;
  }
}

/** The device gets a file of the server's, which nobody else ever maps. */
function* attachCopy(backing: Backing, domainOf: () => DeviceDomain, region: RegionFile): Task<void> {
  const { handle, fd, bytes, owner } = region;
  const copy = createMemoryFile('ringwarden:copy', bytes, needsHugePages(backing, bytes, false));
  let client: ArrayBuffer | undefined;
  try {
    client = shm().map(fd, 0, bytes, true);
    yield* attachFile(backing, domainOf, copy, `copy of ${owner}`, region);
  } catch (error) {
    if (client !== undefined) shm().unmap(client);
    shm().close(copy);
    throw error;
  }
  // In the same turn as it became usable: no request came between.
  domainOf().addCopy(handle, client, copy);
}
