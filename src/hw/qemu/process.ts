/** The QEMU process as the engine thread sees it: whether it lives, what it maps, how it ends. */
import { fstatSync, readFileSync } from 'node:fs';
import { shm } from '../../native/shm.js';

/** Whether the device still counts; what the protocols know of the process. */
export interface Fate {
  /** Undefined while all is well; else why the device is gone. */
  readonly lost: string | undefined;
  /** Gives the device up. Only the first reason stays. */
  lose(reason: string): void;
}

export class QemuProcess implements Fate {
  readonly pid: number;
  readonly #socket: number;
  readonly #scratch = new Uint8Array(4096);
  #ended = false;
  #lost: string | undefined;

  /** `socket` is the QMP socket: its end is the end of the process, for nothing else holds the other side. */
  constructor(pid: number, socket: number) {
    if (!(Number.isSafeInteger(pid) && pid > 1)) throw new RangeError(`${pid} is not the id of one process`); // 0 and below are groups
    this.pid = pid;
    this.#socket = socket;
  }

  get lost(): string | undefined {
    return this.#lost;
  }

  /** Nothing is asked of the device from now on, and QEMU is killed, so that its DMA ends. */
  lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    this.kill();
  }

  kill(): void {
    // A process that has not ended has not been waited for either: the id is its own.
    if (this.hasEnded()) return;
    try {
      process.kill(this.pid, 'SIGKILL');
    } catch {
      // It ended in between.
    }
  }

  /**
   * Whether the process has ended. The kernel takes a process's memory away before its descriptors, so nothing of it can write into shared
   * memory any more. Only once the device is lost: it reads and drops what QEMU still says on the QMP socket.
   */
  hasEnded(): boolean {
    while (!this.#ended) {
      const received = this.#receive();
      if (received === -1) return false;
      this.#ended = received === 0;
    }
    return true;
  }

  #receive(): number {
    try {
      return shm().receive(this.#socket, this.#scratch, 0, this.#scratch.length);
    } catch {
      return 0; // ECONNRESET: the process ended with something unread
    }
  }

  /** Whether the process maps the file. True as well when that cannot be known: the process is ending. */
  maps(file: string): boolean {
    const mappings = mappingsOf(this.pid);
    return mappings === '' || mappings.includes(file);
  }
}

/** What a process maps, as /proc has it; empty if that cannot be read. */
export function mappingsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1');
  } catch {
    return '';
  }
}

/** The part of a line of /proc/PID/maps that tells a file from all others: device and inode (proc(5)). */
export function fileInMaps(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  // makedev(3): twelve and twenty bits for most of them, in three pieces.
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xffff_f000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffff_ff00n);
  return ` ${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')} ${ino} `;
}
