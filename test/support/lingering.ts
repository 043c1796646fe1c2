/** A TCP socket that takes as long to close as its owner likes (SO_LINGER, with data that the other end does not read): what a client can send to a server. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, type Socket, createServer, createConnection } from 'node:net';
import { shm } from '../../src/native/shm.js';
import { descriptorOf } from '../../src/server/socket-descriptor.js';

const MORE_THAN_IS_TAKEN = Buffer.alloc(16 * 1_048_576);

export class Lingering {
  /** Send it, then close it here: whoever closes the last one waits. */
  readonly fd: number;
  readonly #other: Socket;
  readonly #end: () => void;

  private constructor(fd: number, other: Socket, end: () => void) {
    this.fd = fd;
    this.#other = other;
    this.#end = end;
  }

  static async make(): Promise<Lingering> {
    const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'connection');
    const client = createConnection((server.address() as AddressInfo).port, '127.0.0.1');
    await once(client, 'connect');
    const [other] = (await accepted) as [Socket];
    other.on('error', () => undefined);
    client.on('error', () => undefined);
    client.write(MORE_THAN_IS_TAKEN);
    const fd = shm().duplicate(descriptorOf(client));
    const { status } = spawnSync('perl', ['-e', 'use Socket; setsockopt(STDIN, SOL_SOCKET, SO_LINGER, pack("ii", 1, 600)) or die'], {
      stdio: [fd, 'inherit', 'inherit'],
    });
    if (status !== 0) throw new Error('perl could not make a socket linger');
    client.destroy();
    return new Lingering(fd, other, () => server.close());
  }

  /** Lets those end who wait for its close. */
  end(): void {
    this.#other.resetAndDestroy();
    this.#end();
  }
}
