/** The right to a path for a Unix socket: a lock beside it, so that two servers never clear away each other's socket. */
import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { shm } from '../../native/shm.js';
import { SocketInUse } from '../socket-file.js';

/** sun_path of unix(7), without its final zero byte. */
export const MAX_PATH_BYTES = 107;
const LOCK_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
/** The lock file may vanish between opening and locking it, when its holder ends; then it is opened again. */
const ATTEMPTS = 8;

/**
 * Makes sure that nobody else takes `path`, until the returned function is called.
 *
 * @throws {@link SocketInUse} when another server holds it; Error when the path or its folder is not fit for a socket.
 */
export function lockPath(path: string): () => void {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw new Error(`the path of a Unix socket has at most ${MAX_PATH_BYTES} bytes: ${path}`);
  checkFolder(dirname(path));
  const file = `${path}.lock`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const fd = openSync(file, LOCK_FLAGS, 0o600);
    try {
      if (!shm().lock(fd)) throw new SocketInUse(path, `another server uses ${path}`);
      const ours = fstatSync(fd);
      const there = lstatSync(file, { throwIfNoEntry: false });
      if (there !== undefined && there.ino === ours.ino && there.dev === ours.dev) return () => unlock(file, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
  throw new SocketInUse(path, `another server comes and goes at ${path}`);
}

/** Others must not be able to put a socket of their own in the place of ours. The folder is made if only it is missing. */
function checkFolder(folder: string): void {
  if (statSync(folder, { throwIfNoEntry: false }) === undefined) mkdirSync(folder, { mode: 0o755 });
  const found = statSync(folder);
  if (!found.isDirectory()) throw new Error(`${folder} is not a folder`);
  if (found.uid !== 0 && found.uid !== process.getuid?.()) {
    throw new Error(`${folder} belongs to another user, who could put another socket in the place of this one`);
  }
  const isSticky = (found.mode & 0o1000) !== 0;
  if ((found.mode & 0o002) !== 0 && !isSticky) {
    throw new Error(`everybody may write to ${folder}, and could put another socket in the place of this one`);
  }
}

/** The file first, while the lock is held: whoever opened it in the meantime finds that it is no longer there. */
function unlock(file: string, fd: number): void {
  try {
    unlinkSync(file);
  } finally {
    closeSync(fd);
  }
}
