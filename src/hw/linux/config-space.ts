/** Configuration space through the kernel: a file of sysfs, or a region of VFIO. */
import type { ConfigSpace } from '../backing.js';
import type { Task } from '../task.js';
import type { RegisterFile } from './register-file.js';

export class FileConfigSpace implements ConfigSpace {
  readonly bytes: number;
  readonly #file: RegisterFile;
  readonly #isBusy: () => boolean;

  /** No access is made while it is busy: it would wait in the kernel, and this thread with it. */
  constructor(file: RegisterFile, isBusy: () => boolean) {
    this.bytes = file.bytes;
    this.#file = file;
    this.#isBusy = isBusy;
  }

  *read8(offset: number): Task<number> {
    yield* this.#ready();
    return this.#file.read(offset, 1);
  }
  *read16(offset: number): Task<number> {
    yield* this.#ready();
    return this.#file.read(offset, 2);
  }
  *read32(offset: number): Task<number> {
    yield* this.#ready();
    return this.#file.read(offset, 4);
  }
  *write8(offset: number, value: number): Task<void> {
    yield* this.#ready();
    this.#file.write(offset, 1, value);
  }
  *write16(offset: number, value: number): Task<void> {
    yield* this.#ready();
    this.#file.write(offset, 2, value);
  }
  *write32(offset: number, value: number): Task<void> {
    yield* this.#ready();
    this.#file.write(offset, 4, value);
  }

  *#ready(): Task<void> {
    while (this.#isBusy()) yield 1;
  }
}
