/** The descriptors between this process and QEMU. All are close-on-exec here; QEMU gets duplicates of those that are given. */
import { closeSync, writeSync } from 'node:fs';
import { shm } from '../../native/shm.js';
import { loadRom } from '../rom-file.js';
import { usableVectors } from './arguments.js';
import { introduceDoorbell } from './doorbell.js';
import { parkingFirmware } from './firmware.js';
import { discardImage, openImage, type Image } from './images.js';
import { drivesOf, holdsData, type QemuDrive, type QemuOptions } from './options.js';

export class Inheritance {
  /** Sockets of the protocols, and the eventfds of the vectors: this side. */
  readonly qtest: number;
  readonly qmp: number;
  readonly vectors: readonly number[];
  /** What QEMU inherits, in the order of `Inherited` in arguments.ts. */
  readonly given: readonly number[];
  readonly #kept: number[] = [];
  readonly #given: number[] = [];
  readonly #images: Image[] = [];

  /** Opens everything, or nothing. @throws HardwareError for an image. */
  constructor(options: QemuOptions) {
    try {
      this.qtest = this.#pair();
      this.qmp = this.#pair();
      this.#given.push(memoryFile('ringwarden:firmware', parkingFirmware()));
      const doorbell = this.#pair();
      this.vectors = Array.from({ length: usableVectors(options) }, () => this.#keep(shm().eventfd()));
      introduceDoorbell(doorbell, this.vectors);
      for (const drive of drivesOf(options)) if (holdsData(drive)) this.#open(drive);
      const rom = loadRom(options.rom);
      if (rom !== undefined) this.#given.push(memoryFile('ringwarden:rom', rom));
      this.given = [...this.#given];
    } catch (error) {
      this.giveUp();
      throw error;
    }
  }

  /** QEMU has its own by now. */
  closeGiven(): void {
    for (const fd of this.#given.splice(0)) closeSync(fd);
  }

  /** Closes everything; safe to call twice. */
  close(): void {
    this.closeGiven();
    for (const fd of this.#kept.splice(0)) closeSync(fd);
  }

  /** Closes everything, and removes images that were made for nothing. */
  giveUp(): void {
    this.close();
    for (const image of this.#images.splice(0)) discardImage(image);
  }

  #pair(): number {
    const [ours, theirs] = shm().socketpair();
    this.#given.push(theirs);
    return this.#keep(ours);
  }

  #keep(fd: number): number {
    this.#kept.push(fd);
    return fd;
  }

  #open({ file, bytes }: QemuDrive): void {
    if (file === undefined) {
      this.#given.push(shm().memfdCreate('ringwarden:content', bytes));
      return;
    }
    const image = openImage(file, bytes);
    this.#images.push(image);
    this.#given.push(image.fd);
  }
}

function memoryFile(name: string, image: Uint8Array): number {
  const fd = shm().memfdCreate(name, image.length);
  writeSync(fd, image, 0, image.length, 0);
  return fd;
}
