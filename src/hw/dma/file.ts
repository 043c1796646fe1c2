/** Memory files: every byte that a device may reach is allocated here, by the server (DESIGN, memory rule 1). */
import { PAGE_BYTES } from '../../protocol/index.js';
import { Seal, shm } from '../../native/shm.js';
import type { Backing } from '../backing.js';
import { HardwareError } from '../task.js';

/** `bytes` rounded up to whole pages. */
export const wholePages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** The files that a backing takes for a memory of `bytes`: whether they have to be of huge pages. */
export function needsHugePages({ hugePages }: Pick<Backing, 'hugePages'>, bytes: number, contiguous: boolean): boolean {
  return hugePages === 'contiguous' && contiguous && bytes > PAGE_BYTES;
}

/** A zeroed file of at least `bytes`, without seals. @throws HardwareError `exhausted` when there are no huge pages for it. */
export function createFile(name: string, bytes: number, huge: boolean): number {
  if (!huge) return shm().memfdCreate(name, bytes);
  try {
    return shm().hugeCreate(name, bytes);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOSPC' && code !== 'ENOMEM' && code !== 'ENODEV') throw error;
    throw new HardwareError('exhausted', `no huge pages are free for ${bytes} bytes: reserve some ("echo 16 > /proc/sys/vm/nr_hugepages")`);
  }
}

/**
 * A zeroed memory file that can neither shrink nor grow: nobody can take pages away under the device. The descriptor is the caller's to close. A file of huge
 * pages lies in one piece up to 2 MiB, and may be longer than `bytes`. @throws HardwareError `exhausted` when there are none for it.
 */
export function createMemoryFile(name: string, bytes: number, huge = false): number {
  const native = shm();
  const fd = createFile(name, bytes, huge);
  try {
    native.addSeals(fd, Seal.shrink | Seal.grow);
  } catch (error) {
    native.close(fd);
    throw error;
  }
  return fd;
}
