/** Image files of namespaces: opened and locked by the server, so that nobody else serves them while QEMU does. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';

export interface Image {
  readonly path: string;
  readonly fd: number;
  /** It was not there before. */
  readonly created: boolean;
}

/**
 * Opens an image of at least `bytes` for reading and writing: makes it, sparse, if it is not there, and grows it if it is shorter. Never cuts it.
 * The lock goes with the open file, so QEMU, which inherits the descriptor, holds it too.
 * @throws HardwareError `busy` if somebody else holds it, `absent` if it cannot be opened, `exhausted` if it cannot have that size.
 */
export function openImage(path: string, bytes: number): Image {
  const image = open(path);
  try {
    const status = fstatSync(image.fd);
    if (!status.isFile()) throw new HardwareError('unsupported', `the image ${path} is not a regular file`);
    if (!shm().lock(image.fd)) throw new HardwareError('busy', `the image ${path} is in use`);
    if (status.size < bytes) grow(image, bytes);
    return image;
  } catch (error) {
    closeSync(image.fd);
    discardImage(image);
    throw error;
  }
}

/** Removes an image that `openImage` made, when it is not used after all. Its descriptor is closed by its owner. */
export function discardImage({ path, created }: Image): void {
  if (created) unlinkSync(path);
}

function open(path: string): Image {
  try {
    return { path, fd: openSync(path, constants.O_RDWR), created: false };
  } catch (cause) {
    if (codeOf(cause) !== 'ENOENT') throw new HardwareError('absent', `the image ${path} cannot be opened: ${codeOf(cause)}`);
  }
  try {
    return { path, fd: openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600), created: true };
  } catch (cause) {
    throw new HardwareError('absent', `the image ${path} cannot be made: ${codeOf(cause)}`);
  }
}

function grow({ path, fd }: Image, bytes: number): void {
  try {
    ftruncateSync(fd, bytes);
  } catch (cause) {
    throw new HardwareError('exhausted', `the image ${path} cannot have ${bytes} bytes: ${codeOf(cause)}`);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
