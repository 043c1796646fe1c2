/** The server's state folder: its own, private, and used by one server at a time. */
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { shm } from '../native/shm.js';

export class StateFolderInUse extends Error {
  override readonly name = 'StateFolderInUse';
  readonly remedy = 'stop that server, or give this one a state folder (and images) of its own';
}

const PRIVATE = 0o700;

/** Makes the folder if it is not there, and locks it. Returns what gives the lock back; the kernel does so too when the process ends. */
export function lockStateFolder(folder: string): () => void {
  mkdirSync(folder, { recursive: true, mode: PRIVATE });
  if (!statSync(folder).isDirectory()) throw new Error(`${folder} is not a folder`);
  const path = join(folder, 'lock');
  const fd = openSync(path, 'a+', 0o600);
  try {
    if (!shm().lock(fd)) {
      const holder = readFileSync(path, 'utf8').trim();
      throw new StateFolderInUse(`another server${holder === '' ? '' : ` (process ${holder})`} uses the state folder ${folder}`);
    }
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return () => closeSync(fd);
}
