/** A file system of one file whose owner answers everything but the request that comes with closing: what a hostile client can pass in place of an eventfd. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, open, openSync, read, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

/** Requests (linux/fuse.h). */
const Opcode = { forget: 2, getattr: 3, open: 14, release: 18, flush: 25, init: 26, interrupt: 36, batchForget: 42 } as const;
const NOT_IMPLEMENTED = -38;
const MOUNT =
  'mount -i -n -t fuse -o fd=3,rootmode=100000,user_id=0,group_id=0 stuck "$1" && exec 3>&- && echo mounted && read end; umount -n -l "$1"';

export class StuckFile {
  readonly path: string;
  /** Closes that wait for an answer. */
  readonly stuck: bigint[] = [];
  readonly #folder: string;
  readonly #device: number;
  /**
   * Mounts, and unmounts when its input ends, also by the end of this process. One process for both, started before anybody has the file open: a process that
   * is started later closes the file on its way, and so waits for an answer that only this process could give, which waits for that process.
   */
  readonly #mounter: ChildProcess;
  readonly #unmounted: Promise<unknown>;
  #ended = false;

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, 'file');
    writeFileSync(this.path, '');
    this.#device = openSync('/dev/fuse', 'r+');
    this.#mounter = spawn('sh', ['-c', MOUNT, 'sh', this.path], { stdio: ['pipe', 'pipe', 'ignore', this.#device] });
    this.#unmounted = once(this.#mounter, 'close');
  }

  /** Undefined where this process may not mount. */
  static async mount(): Promise<StuckFile | undefined> {
    const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
    let file: StuckFile;
    try {
      file = new StuckFile(folder);
    } catch {
      rmSync(folder, { recursive: true });
      return undefined;
    }
    void file.#serve();
    const mounted = await Promise.race([once(file.#mounter.stdout as Readable, 'data').then(() => true), file.#unmounted.then(() => false)]);
    if (mounted) return file;
    await file.end();
    return undefined;
  }

  open(): Promise<number> {
    return promisify(open)(this.path, 'r');
  }

  /** Lets those end who wait for their close. */
  release(): void {
    for (const unique of this.stuck.splice(0)) this.#answer(unique, 0);
  }

  async end(): Promise<void> {
    this.release();
    this.#mounter.stdin?.end();
    await this.#unmounted;
    this.#ended = true;
    closeSync(this.#device);
    rmSync(this.#folder, { recursive: true });
  }

  async #serve(): Promise<void> {
    const request = Buffer.alloc(256 * 1024);
    for (;;) {
      try {
        await promisify(read)(this.#device, request, 0, request.length, null);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (this.#ended || code === 'ENODEV') return;
        // Not mounted yet.
        if (code !== 'EPERM' && code !== 'EINTR' && code !== 'ENOENT') throw error;
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      this.#take(request.readUInt32LE(4), request.readBigUInt64LE(8));
    }
  }

  #take(opcode: number, unique: bigint): void {
    if (opcode === Opcode.init) {
      const body = Buffer.alloc(64);
      body.writeUInt32LE(7, 0); // major
      body.writeUInt32LE(31, 4); // minor
      body.writeUInt32LE(4096, 20); // most bytes of a write
      this.#answer(unique, 0, body);
    } else if (opcode === Opcode.getattr) {
      const body = Buffer.alloc(104);
      body.writeBigUInt64LE(1n, 16); // inode
      body.writeUInt32LE(0o100444, 76); // mode
      body.writeUInt32LE(1, 80); // links
      this.#answer(unique, 0, body);
    } else if (opcode === Opcode.open) {
      this.#answer(unique, 0, Buffer.alloc(16));
    } else if (opcode === Opcode.flush) {
      this.stuck.push(unique);
    } else if (opcode === Opcode.release) {
      this.#answer(unique, 0);
    } else if (opcode !== Opcode.forget && opcode !== Opcode.batchForget && opcode !== Opcode.interrupt) {
      this.#answer(unique, NOT_IMPLEMENTED);
    }
  }

  #answer(unique: bigint, error: number, body: Buffer = Buffer.alloc(0)): void {
    const answer = Buffer.alloc(16 + body.length);
    answer.writeUInt32LE(answer.length, 0);
    answer.writeInt32LE(error, 4);
    answer.writeBigUInt64LE(unique, 8);
    body.copy(answer, 16);
    writeSync(this.#device, answer);
  }
}
