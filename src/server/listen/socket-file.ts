/**
 * The right to a path for a Unix socket: a lock beside it, so that two servers never serve, nor clear away, the same path at once.
 */
import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { shm } from '../../native/shm.js';
import { SocketInUse, requireFreeSocket } from '../admin/index.js';

/** sun_path of unix(7), without its final zero byte. */
const MAX_PATH_BYTES = 107;
const LOCK_FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
/** The lock file may vanish between opening and locking it, when its holder ends; then it is opened again. */
const ATTEMPTS = 8;

/**
 * Claims `path`: nothing is there afterwards, and nobody else gets it until the returned function is called.
 *
 * @throws {@link SocketInUse} when a server is there, or something that is not a socket; Error when the folder is not fit for a socket.
 */
export async function claimPath(path: string): Promise<() => void> {
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) throw new Error(`the path of a Unix socket has at most ${MAX_PATH_BYTES} bytes: ${path}`);
  checkFolder(dirname(path));
  const release = lock(path);
  try {
    if (await requireFreeSocket(path)) unlinkSync(path);
    return release;
  } catch (error) {
    release();
    throw error;
  }
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

function lock(path: string): () => void {
  const lockPath = `${path}.lock`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const fd = openSync(lockPath, LOCK_FLAGS, 0o600);
    try {
      if (!shm().lock(fd)) throw new SocketInUse(path, `another server uses ${path}`);
      const ours = fstatSync(fd);
      const there = lstatSync(lockPath, { throwIfNoEntry: false });
      if (there !== undefined && there.ino === ours.ino && there.dev === ours.dev) return () => unlock(lockPath, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
  throw new SocketInUse(path, `another server comes and goes at ${path}`);
}

/** The file first, while the lock is held: whoever opened it in the meantime finds that it is no longer there. */
function unlock(lockPath: string, fd: number): void {
  try {
    unlinkSync(lockPath);
  } finally {
    closeSync(fd);
  }
}
