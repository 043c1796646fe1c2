/** Image files: opened, locked, made long enough; given back in reverse order if one of them cannot be had. */
import { closeSync, constants, fdatasyncSync, fstatSync, ftruncateSync, openSync, unlinkSync, type Stats } from 'node:fs';
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';
import type { NamespaceShape } from './model/shape.js';
import type { ImageOptions } from './options.js';

interface OpenImage {
  readonly path: string;
  readonly fd: number;
  readonly created: boolean;
}

/** Open images, in the order of their options. */
export class Images {
  readonly #images: OpenImage[] = [];

  /**
   * @throws HardwareError `busy` when somebody else holds a file (or two options name the same one), `absent` when it cannot be opened,
   * `exhausted` when it cannot be made as long as it must be; RangeError when namespaces overlap.
   */
  constructor(options: readonly ImageOptions[], namespaces: readonly NamespaceShape[]) {
    checkOverlap(namespaces);
    try {
      for (const option of options) this.#open(option);
    } catch (error) {
      this.#giveUp();
      throw error;
    }
  }

  get descriptors(): readonly number[] {
    return this.#images.map(({ fd }) => fd);
  }

  /** Makes everything durable and closes the files, which gives back their locks. */
  close(): void {
    for (let image = this.#images.pop(); image !== undefined; image = this.#images.pop()) {
      try {
        fdatasyncSync(image.fd);
      } finally {
        closeSync(image.fd);
      }
    }
  }

  #open({ path, bytes }: ImageOptions): void {
    const { fd, created } = openFile(path);
    this.#images.push({ path, fd, created });
    const stats = fstatSync(fd);
    if (!stats.isFile()) throw new HardwareError('unsupported', `image ${path} is not a regular file`);
    if (!shm().lock(fd)) throw new HardwareError('busy', `image ${path} is in use`);
    grow(path, fd, stats, bytes);
  }

  /** Removes what was made a moment ago. */
  #giveUp(): void {
    for (let image = this.#images.pop(); image !== undefined; image = this.#images.pop()) {
      if (image.created) unlinkSync(image.path);
      closeSync(image.fd);
    }
  }
}

function openFile(path: string): { fd: number; created: boolean } {
  try {
    try {
      return { fd: openSync(path, constants.O_RDWR), created: false };
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
      return { fd: openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600), created: true };
    }
  } catch (error) {
    throw new HardwareError('absent', `image ${path} cannot be opened: ${codeOf(error)}`);
  }
}

function grow(path: string, fd: number, stats: Stats, bytes: number): void {
  if (stats.size >= bytes) return;
  try {
    ftruncateSync(fd, bytes);
  } catch (error) {
    throw new HardwareError('exhausted', `image ${path} cannot have ${bytes} bytes: ${codeOf(error)}`);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

function checkOverlap(namespaces: readonly NamespaceShape[]): void {
  for (const [index, one] of namespaces.entries()) {
    for (const [other, two] of namespaces.slice(0, index).entries()) {
      if (one.image < 0 || one.image !== two.image) continue;
      const apart = end(one) <= two.imageOffset || end(two) <= one.imageOffset;
      if (!apart) throw new RangeError(`namespaces[${index}] and namespaces[${other}] overlap in their image`);
    }
  }
}

function end({ imageOffset, blocks, blockBytes }: NamespaceShape): number {
  return imageOffset + blocks * blockBytes;
}
