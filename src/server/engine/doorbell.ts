/**
 * The engine's end of the connection by which it and the client of a shared ring wake each other. What the bytes are means nothing; nothing here waits; and
 * a client that fills the connection, or ends it, loses wake-ups of its own and nothing else.
 */
import { Epoll, shm } from '../../native/shm.js';

const BYTE = new Uint8Array(1);
/** More than a client leaves there that rings once for each time that it is asked to. */
const waste = new Uint8Array(4_096);

export class Doorbell {
  readonly fd: number;
  readonly #epoll: number;
  readonly #onClosed: () => void;
  #closed = false;

  /** Takes the descriptor over. Its events come from `epoll` with the descriptor as their number, once for each time that something arrives. */
  constructor(fd: number, epoll: number, onClosed: () => void) {
    shm().epollControl(epoll, 'add', fd, Epoll.in | Epoll.edge, fd);
    this.fd = fd;
    this.#epoll = epoll;
    this.#onClosed = onClosed;
  }

  /** Wakes the client. A connection that is full wakes it anyway. */
  ring(): void {
    if (this.#closed) return;
    try {
      shm().send(this.fd, BYTE, 0, 1);
    } catch {
      this.close();
    }
  }

  /** Takes what has arrived; the end of the connection too. */
  take(): void {
    if (this.#closed) return;
    try {
      const taken = shm().receive(this.fd, waste, 0, waste.length);
      if (taken === 0) this.close();
      // A flood. There may be more, for which no event would come; until it is taken the client may find no room to ring.
      else if (taken === waste.length) shm().epollControl(this.#epoll, 'modify', this.fd, Epoll.in | Epoll.edge, this.fd);
    } catch {
      this.close();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    shm().epollControl(this.#epoll, 'delete', this.fd, 0, 0);
    // With it goes what the client sent and nobody received, and that may be anything.
    shm().closeConnection(this.fd, false);
    this.#onClosed();
  }
}
