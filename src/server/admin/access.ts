/** Who may administer: root, the user that runs the server, and the members of the configured group. */
import type { Socket } from 'node:net';
import { shm } from '../../native/shm.js';
import type { Environment } from '../config/index.js';

export interface Peer {
  readonly uid: number;
  readonly gid: number;
}

/** The peer of a connected Unix socket, as the kernel knows it; undefined when it cannot be had, and then nothing is allowed. */
export function peerOf(socket: Socket): Peer | undefined {
  // Node does not offer the descriptor of a connection; SO_PEERCRED needs it.
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } | null };
  if (handle?.fd === undefined || handle.fd < 0) return undefined;
  try {
    return shm().peerCredentials(handle.fd);
  } catch {
    return undefined;
  }
}

/** Whether the peer may administer. `group` is the configured group. An overflow id proves nothing. */
export function mayAdminister(peer: Peer | undefined, group: number | undefined, environment: Environment): boolean {
  if (peer === undefined || peer.uid === environment.overflowUid) return false;
  if (peer.uid === 0 || peer.uid === environment.uid) return true;
  if (group === undefined || group === environment.overflowGid) return false;
  return peer.gid === group || environment.isMember(peer.uid, group);
}
