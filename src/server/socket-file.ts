/** The file of a Unix socket: taken when nobody serves it, with its mode from the first moment, and removed only while it is ours. */
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import { shm } from '../native/shm.js';
import { activatedSocket } from './activation.js';
import { descriptorOf } from './socket-descriptor.js';
import { systemCode } from './text.js';

export class SocketInUse extends Error {
  override readonly name = 'SocketInUse';
  readonly remedy = 'stop that server, or choose another path';
  readonly path: string;
  constructor(path: string, what: string) {
    super(what);
    this.path = path;
  }
}

export interface SocketFile {
  /** Removes the file, unless somebody has put another one in its place. */
  release(): void;
}

/** Whether somebody accepts connections at `path`. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const code = systemCode(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      else if (code === 'EAGAIN') resolve(true);
      else reject(error);
    });
  });
}

/**
 * Throws {@link SocketInUse} when a server is at `path`, or something that is not a socket. Changes nothing. A socket that the service manager listens at for
 * us is free. True when an earlier server left its
 * socket there.
 */
export async function requireFreeSocket(path: string): Promise<boolean> {
  if (activatedSocket(path) !== undefined) return false;
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isSocket()) throw new SocketInUse(path, `${path} is there, and is not a socket`);
  if (await isServed(path)) throw new SocketInUse(path, `a server is listening at ${path}`);
  return true;
}

/** Listens at a socket of the service manager's, whose file, with its mode and group, stays the manager's. */
async function adoptSocket(server: Server, fd: number, takesDescriptors: boolean): Promise<SocketFile> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  if (!takesDescriptors) shm().refuseDescriptors(descriptorOf(server));
  return { release: () => undefined };
}

/**
 * Makes `server` listen at `path`, with `mode` and, where given, `group` on the file. Unless it `takesDescriptors`, none can be sent to it, where the kernel can
 * see to that: the event loop would close them, and that can take for ever.
 */
export async function claimSocket(
  server: Server,
  path: string,
  mode: number,
  group: number | undefined,
  takesDescriptors = false,
): Promise<SocketFile> {
  const activated = activatedSocket(path);
  if (activated !== undefined) return adoptSocket(server, activated, takesDescriptors);
  if (await requireFreeSocket(path)) unlinkSync(path);
  const folder = dirname(path);
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o755 });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file must never be more open than it is meant to be, and `listen` binds before it returns.
    const umask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
      if (!takesDescriptors && server.listening) shm().refuseDescriptors(descriptorOf(server));
    } finally {
      process.umask(umask);
    }
  });
  const { ino, dev } = lstatSync(path);
  const release = (): void => {
    const now = lstatSync(path, { throwIfNoEntry: false });
    if (now !== undefined && now.ino === ino && now.dev === dev) unlinkSync(path);
  };
  try {
    if (group !== undefined) chownSync(path, -1, group);
    chmodSync(path, mode);
  } catch (error) {
    release();
    throw error;
  }
  return { release };
}
