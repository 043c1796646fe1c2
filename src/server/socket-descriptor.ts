import type { Server, Socket } from 'node:net';

/** The descriptor of a socket, which Node has no public way to. @throws Error when it is closed. */
export function descriptorOf(socket: Socket | Server): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: unknown } | null };
  if (typeof handle?.fd !== 'number' || handle.fd < 0) throw new Error('the socket has no descriptor');
  return handle.fd;
}
