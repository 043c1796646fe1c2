/** Memory files: every byte that a device may reach is allocated here, by the server (DESIGN, memory rule 1). */
import { PAGE_BYTES } from '../../protocol/index.js';
import { Seal, shm } from '../../native/shm.js';

/** `bytes` rounded up to whole pages. */
export const wholePages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** A zeroed memory file that can neither shrink nor grow: nobody can take pages away under the device. The descriptor is the caller's to close. */
export function createMemoryFile(name: string, bytes: number): number {
  const native = shm();
  const fd = native.memfdCreate(name, bytes);
  try {
    native.addSeals(fd, Seal.shrink | Seal.grow);
  } catch (error) {
    native.close(fd);
    throw error;
  }
  return fd;
}
