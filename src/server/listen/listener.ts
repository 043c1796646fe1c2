/** What all listeners have in common. */
import type { Server } from 'node:http';
import type { ListenOptions } from 'node:net';

export interface Listener {
  /** Where it listens, for people: a path, or `address:port`. */
  readonly address: string;
  /** Takes no more connections, and ends those that are not sessions yet. Sessions go on; whoever manages them ends them. Safe to repeat. */
  close(): Promise<void>;
}

/** Resolves once the server listens. */
export function listening(server: Server, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(where, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
