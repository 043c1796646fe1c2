/** Registers behind a file: each access is one read or write of its width at its offset. Configuration space and I/O ports are reached so. */
import { readSync, writeSync } from 'node:fs';
import { checkAccess, checkValue } from '../access.js';
import { codeOf } from './errors.js';

export type AccessWidth = 1 | 2 | 4;

export class RegisterFile {
  readonly bytes: number;
  readonly #fd: number;
  readonly #start: number;
  readonly #gone: (reason: string) => void;
  readonly #word = Buffer.alloc(4);
  #closed = false;

  /** `bytes` from `start` on of the file. `gone` is told when the kernel says that the device is not there any more. */
  constructor(fd: number, start: number, bytes: number, gone: (reason: string) => void) {
    this.#fd = fd;
    this.#start = start;
    this.bytes = bytes;
    this.#gone = gone;
  }

  /** The descriptor is about to be closed, and its number may be another file's soon: from now on all ones are read, and writes vanish. */
  close(): void {
    this.#closed = true;
  }

  /** All ones where the device does not answer, as a bus reads. */
  read(offset: number, width: AccessWidth): number {
    checkAccess(this.bytes, offset, width);
    if (this.#closed) return 2 ** (8 * width) - 1;
    try {
      if (readSync(this.#fd, this.#word, 0, width, this.#start + offset) === width) return this.#word.readUIntLE(0, width);
      this.#gone('the kernel does not read its registers any more');
    } catch (error) {
      this.#gone(`the kernel does not read its registers any more (${codeOf(error)})`);
    }
    return 2 ** (8 * width) - 1;
  }

  write(offset: number, width: AccessWidth, value: number): void {
    checkAccess(this.bytes, offset, width);
    checkValue(value, width);
    if (this.#closed) return;
    this.#word.writeUIntLE(value, 0, width);
    try {
      if (writeSync(this.#fd, this.#word, 0, width, this.#start + offset) === width) return;
      this.#gone('the kernel does not write its registers any more');
    } catch (error) {
      this.#gone(`the kernel does not write its registers any more (${codeOf(error)})`);
    }
  }
}
