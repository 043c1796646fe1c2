/** A QEMU for one test: prepared, opened in this thread, and taken down with everything that belongs to it. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backing, PreparedBacking } from '../../src/hw/backing.js';
import { openQemu, prepare, type QemuHandle, type QemuNvmeOptions } from '../../src/hw/qemu/index.js';
import type { Task } from '../../src/hw/task.js';
import { shm } from '../../src/native/shm.js';
import { runTask } from './run.js';

const MIB = 1_048_576;

export const qemuDefaults: QemuNvmeOptions = { drives: [{ bytes: 64 * MIB, blockBytes: 512 }], mdts: 7, queuePairs: 8, vectors: 9, serial: 'test' };

export class QemuWorld {
  readonly prepared: PreparedBacking<QemuHandle>;
  readonly backing: Backing;
  /** What else has to move along while a task runs: a driver's completions. */
  also: () => void = () => {};
  readonly #files: number[] = [];

  static async start(options: Partial<QemuNvmeOptions> = {}): Promise<QemuWorld> {
    return new QemuWorld(await prepare({ ...qemuDefaults, ...options }));
  }

  /** QEMU's teaching device in place of a controller. */
  static async startEdu(): Promise<QemuWorld> {
    return new QemuWorld(await prepare({ model: 'edu' }));
  }

  constructor(prepared: PreparedBacking<QemuHandle>) {
    this.prepared = prepared;
    this.backing = openQemu(prepared.handle);
  }

  get pid(): number {
    return this.prepared.handle.pid;
  }

  run<T>(task: Task<T>): T {
    return runTask(this.backing, task, () => this.also());
  }

  /** A memory file that is closed at the end. */
  file(name: string, bytes: number): number {
    const fd = shm().memfdCreate(name, bytes);
    this.#files.push(fd);
    return fd;
  }

  async end(): Promise<void> {
    this.backing.dispose();
    await this.prepared.dispose();
    for (const fd of this.#files.splice(0)) shm().close(fd);
  }
}

/** Runs a test with a folder of its own. */
export async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
  try {
    await test(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** How many descriptors a process has open, and how many mappings of files with this name. */
export function holdings(pid: number | 'self', name: string): { descriptors: number; mappings: number } {
  const mappings = readFileSync(`/proc/${pid}/maps`, 'utf8').split(`/memfd:${name} `).length - 1;
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, mappings };
}

/** Processes that this process has started and not waited for. */
export function children(): number[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
