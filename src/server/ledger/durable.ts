/** Replacing a file so that a reader, after a crash at any moment, finds the old text or the new one, whole. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCode } from '../text.js';

/** The steps, one system call each, so that a test can stop between any two. */
export interface Files {
  /** The file's text; undefined when there is no such file. */
  read(path: string): string | undefined;
  /** Opens for writing, made empty, readable by this user only. */
  create(path: string): number;
  openFolder(path: string): number;
  /** Writes as much as the system takes; returns how many bytes. */
  write(fd: number, bytes: Uint8Array): number;
  sync(fd: number): void;
  close(fd: number): void;
  rename(from: string, to: string): void;
}

export const systemFiles: Files = {
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  },
  create: (path) => openSync(path, 'w', 0o600),
  openFolder: (path) => openSync(path, 'r'),
  write: (fd, bytes) => writeSync(fd, bytes),
  sync: fsyncSync,
  close: closeSync,
  rename: renameSync,
};

function closing(files: Files, fd: number, work: () => void): void {
  try {
    work();
  } finally {
    files.close(fd);
  }
}

/** Writes the text beside the file, makes it durable, puts it in the file's place, and makes that durable. */
export function replaceFile(files: Files, path: string, text: string): void {
  const beside = `${path}.new`;
  const file = files.create(beside);
  closing(files, file, () => {
    for (let rest: Uint8Array = Buffer.from(text); rest.length > 0;) rest = rest.subarray(files.write(file, rest));
    files.sync(file);
  });
  files.rename(beside, path);
  const folder = files.openFolder(dirname(path));
  closing(files, folder, () => files.sync(folder));
}
