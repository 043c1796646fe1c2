/**
 * Which memory was handed to whom: from a mapping of any process to tenant, device and lease (R38).
 *
 * A mapping shows the file behind it (proc(5), maps), and the kernel gives each file a number of its own: names prove nothing, because anybody can give any name
 * to a memory file.
 */
import { fstatSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** What a file is. */
export interface FileFacts {
  readonly what: 'request ring' | 'completion ring' | 'region' | 'submission queue, a mirror' | 'completion queue of the hardware';
  readonly tenant: string;
  /** Leases on whose devices it is used; a region belongs to a domain, and so maybe to several. */
  readonly leases: readonly { readonly device: string; readonly lease: number; readonly session: number }[];
  readonly queue?: number;
  readonly domain?: number;
  readonly region?: number;
}

export interface HandedOverFile {
  describe(): FileFacts;
  /** Whether it is still used for that. What has ended is kept by its readers alone. */
  inUse(): boolean;
}

/** One line of maps. */
export interface ProcessMapping {
  /** Hexadecimal, as in proc(5). */
  readonly start: string;
  readonly end: string;
  readonly permissions: string;
  /** `major:minor/inode`. */
  readonly key: string;
  readonly path: string;
}

export interface MappingReport extends Partial<FileFacts> {
  readonly start: string;
  readonly end: string;
  readonly permissions: string;
  readonly path: string;
  /** `unknown`: no file that this server handed over, whatever its name is. */
  readonly state: 'in use' | 'ended' | 'unknown';
}

/** Files that have ended are forgotten above so many. */
const MOST_KEPT = 16_384;

export class HandedOver {
  readonly #files = new Map<string, HandedOverFile>();
  #sweepAt = MOST_KEPT;

  /** The file of this descriptor goes to a client. */
  add(fd: number, file: HandedOverFile): void {
    this.#files.set(keyOf(fd), file);
    if (this.#files.size <= this.#sweepAt) return;
    for (const [key, file] of this.#files) if (!file.inUse()) this.#files.delete(key);
    this.#sweepAt = Math.max(MOST_KEPT, 2 * this.#files.size);
  }

  report({ key, ...mapping }: ProcessMapping): MappingReport {
    const file = this.#files.get(key);
    if (file === undefined) return { ...mapping, state: 'unknown' };
    return { ...mapping, state: file.inUse() ? 'in use' : 'ended', ...file.describe() };
  }
}

function keyOf(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  // makedev(3).
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major.toString(16)}:${minor.toString(16)}/${ino}`;
}

const LINE = /^([0-9a-f]+)-([0-9a-f]+) (\S+) [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*?)(?: \(deleted\))?$/;

/** Mappings of memory files in a process. @throws Error of the system when there is no such process, or it may not be looked into. */
export async function readMappings(pid: number): Promise<ProcessMapping[]> {
  const text = await readFile(`/proc/${pid}/maps`, 'utf8');
  const found: ProcessMapping[] = [];
  for (const line of text.split('\n')) {
    const [, start, end, permissions, major, minor, inode, path] = LINE.exec(line) ?? [];
    if (path === undefined || !path.startsWith('/memfd:')) continue;
    found.push({ start, end, permissions, key: `${parseInt(major, 16).toString(16)}:${parseInt(minor, 16).toString(16)}/${inode}`, path });
  }
  return found;
}
