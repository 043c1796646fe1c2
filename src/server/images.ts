/** Image files as the ledger knows them: which file it is, and which of its bytes nobody has written yet. */
import { closeSync, fsyncSync, openSync, statSync } from 'node:fs';
import { VOLATILE } from './ledger/index.js';
import { systemCode } from './text.js';
import type { NamespaceConfig } from './config/index.js';

/** Below this, a file system may keep the content beside the file's other facts, and count no block for it. */
const LEAST_SPARSE_BYTES = 65_536;

/**
 * What a namespace is called in the ledger. An image goes by its inode and its birth, which a copy, a backup put back, or another file under the same
 * name do not share: their content is not what the ledger knows.
 */
export function identityOf(device: string, { id, image }: Pick<NamespaceConfig, 'id' | 'image'>): string {
  if (image === undefined) return `${VOLATILE}${device}/${id}`;
  const { ino, birthtimeNs } = statSync(image, { bigint: true });
  return `image:${ino}:${birthtimeNs}`;
}

/** Bytes of an image before a backing makes or grows it; 0 when it is not there. */
export function imageBytes(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

/** Whether nothing was ever written to the image: it has a size and no blocks. */
export function isUntouched(path: string): boolean {
  const fd = openSync(path, 'r');
  try {
    // Blocks are counted when they are allocated, which some file systems put off.
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  const { blocks, size } = statSync(path);
  return blocks === 0 && size >= LEAST_SPARSE_BYTES;
}
