/** The other end of a socket, in the hands of the test: what QEMU would say and hear. */
import type { Fate } from '../../../src/hw/qemu/process.js';
import { shm } from '../../../src/native/shm.js';

export class Peer {
  readonly ours: number;
  #theirs: number;
  #open = true;

  constructor() {
    [this.ours, this.#theirs] = shm().socketpair();
  }

  say(text: string | Uint8Array): void {
    const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    if (bytes.length > 0 && shm().send(this.#theirs, bytes, 0, bytes.length) !== bytes.length) throw new Error('the socket is full');
  }

  /** Everything that was sent since the last time. */
  heard(): string {
    const into = new Uint8Array(1 << 20);
    let length = 0;
    for (let got = 1; got > 0; length += Math.max(got, 0)) got = shm().receive(this.#theirs, into, length, into.length - length);
    return Buffer.from(into.subarray(0, length)).toString('latin1');
  }

  /** What was sent, with the descriptors that came along. */
  heardWithDescriptors(): { text: string; descriptors: number[] } {
    const into = new Uint8Array(65_536);
    const { bytes, descriptors } = shm().receiveDescriptors(this.#theirs, into, 16);
    return { text: Buffer.from(into.subarray(0, Math.max(bytes, 0))).toString('latin1'), descriptors };
  }

  /** QEMU dies. */
  end(): void {
    if (this.#open) shm().close(this.#theirs);
    this.#open = false;
  }

  close(): void {
    this.end();
    shm().close(this.ours);
  }
}

/** Keeps the first reason, as the real one does, and kills nobody. */
export class TestFate implements Fate {
  lost: string | undefined;
  lose(reason: string): void {
    this.lost ??= reason;
  }
}
