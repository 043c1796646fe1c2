/**
 * One connection to the descriptor socket: 16 bytes of a ticket, with a descriptor where the ticket is for one; then one byte, with descriptors.
 *
 * Everything that can come here is received with room for descriptors, and closed on threads that may be lost: a client can send files that take for ever to
 * close. A user of whom several hang already is not received from at all.
 */
import { shm } from '../../native/shm.js';
import { Code, type CodeName, TICKET_BYTES } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import type { Log } from '../log.js';
import { messageOf, systemCode } from '../text.js';
import type { Gift, Recipient, Tickets, Visit } from './tickets.js';

const DEADLINE_MILLISECONDS = 2_000;
/** The ticket is mostly there with the connection; else between two looks, twice as long each time. */
const FIRST_LOOK_MILLISECONDS = 1;
const LAST_LOOK_MILLISECONDS = 32;
/** Descriptors of one message that are looked at: one is expected, and two are one too many. */
const MOST_DESCRIPTORS = 2;

/** The byte that comes with the descriptors, or instead of them; or the number of one of the codes {@link TOLD}. */
export const HandoverStatus = { ok: 0, refused: 1, failed: 2 } as const;

/** Refusals of a descriptor: their numbers are told, because nobody else would. They fit into a byte. */
const TOLD: ReadonlySet<CodeName> = new Set(['notAnEventfd', 'noSignal', 'noDescriptor', 'descriptorsHang']);

export class Visitor implements Visit {
  readonly recipient: Recipient;
  readonly #connection: number;
  readonly #tickets: Tickets;
  readonly #log: Log;
  readonly #onEnd: () => void;
  /** One byte more than a ticket has, for whoever sends more. */
  readonly #bytes = Buffer.alloc(TICKET_BYTES + 1);
  #length = 0;
  /** Descriptors that came and that nobody has taken. */
  #passed: number[] = [];
  #deadline: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  #kept = false;
  #ended = false;

  /** Takes the connection over. `onEnd` is called once it is given up. */
  constructor(connection: number, tickets: Tickets, log: Log, onEnd: () => void) {
    this.recipient = shm().peerCredentials(connection);
    this.#connection = connection;
    this.#tickets = tickets;
    this.#log = log;
    this.#onEnd = onEnd;
  }

  get uid(): number {
    return this.recipient.uid;
  }

  begin(): void {
    if (!shm().canCloseElsewhere(this.uid)) {
      this.#log.debug('descriptors of a user hang', { uid: this.uid });
      this.#finish(Code.descriptorsHang);
      return;
    }
    this.#deadline = setTimeout(() => this.end(), DEADLINE_MILLISECONDS).unref();
    this.#receive(FIRST_LOOK_MILLISECONDS);
  }

  keep(): number {
    // Its number may be another's by now.
    if (this.#ended) throw new Error('the connection has ended');
    this.#kept = true;
    return shm().duplicate(this.#connection);
  }

  takeDescriptor(): number {
    if (this.#passed.length !== 1) throw new Refusal('noDescriptor', 'fd', this.#passed.length);
    return this.#passed.splice(0)[0];
  }

  /** Gives the connection up. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#look);
    for (const fd of this.#passed.splice(0)) shm().closeElsewhere(fd, this.uid);
    shm().closeConnection(this.#connection, this.#kept);
    this.#onEnd();
  }

  #receive(pause: number): void {
    for (;;) {
      let got: { bytes: number; descriptors: number[]; truncated: boolean };
      try {
        got = shm().receiveDescriptors(this.#connection, this.#bytes.subarray(this.#length), MOST_DESCRIPTORS);
      } catch {
        return this.end();
      }
      this.#keepSome(got.descriptors);
      if (got.bytes < 0) break;
      this.#length += got.bytes;
      if (got.bytes === 0 || this.#length > TICKET_BYTES) return this.end();
      if (this.#length === TICKET_BYTES) return void this.#answer();
    }
    this.#look = setTimeout(() => this.#receive(Math.min(2 * pause, LAST_LOOK_MILLISECONDS)), pause).unref();
  }

  /** Of many descriptors two are kept, which are one too many; the others go at once. */
  #keepSome(descriptors: readonly number[]): void {
    for (const fd of descriptors) {
      if (this.#passed.length < MOST_DESCRIPTORS) this.#passed.push(fd);
      else shm().closeElsewhere(fd, this.uid);
    }
  }

  async #answer(): Promise<void> {
    const { uid } = this;
    const offer = this.#tickets.redeem(this.#bytes.subarray(0, TICKET_BYTES));
    if (offer === undefined || !offer.admits(this.recipient)) {
      // One that is not known is of a session that ended just now, or a guess: anybody can send those, as many as they like.
      if (offer === undefined) this.#log.debug('an unknown ticket was refused', { uid });
      else this.#log.warn('a ticket was refused: it is of another user', { uid });
      this.#finish(HandoverStatus.refused);
      return;
    }
    let gift: Gift | undefined;
    try {
      gift = await offer.give(this);
      this.#finish(HandoverStatus.ok, gift.descriptors);
    } catch (error) {
      // A client that is gone by now, or that closed meanwhile what it asked for, is nothing out of the ordinary, and could fill the log with it.
      const ordinary = this.#ended || systemCode(error) === 'EPIPE' || error instanceof Refusal;
      this.#log[ordinary ? 'debug' : 'warn']('memory could not be handed over', { uid, error: messageOf(error) });
      this.#finish(error instanceof Refusal && TOLD.has(error.code) ? Code[error.code] : HandoverStatus.failed);
    } finally {
      gift?.done();
    }
  }

  /** The last word. @throws Error where descriptors do not go out. */
  #finish(status: number, descriptors: readonly number[] = []): void {
    if (this.#ended) return;
    const byte = Buffer.of(status);
    if (descriptors.length > 0) shm().sendDescriptors(this.#connection, byte, descriptors);
    else this.#say(byte);
    this.end();
  }

  #say(byte: Uint8Array): void {
    try {
      shm().send(this.#connection, byte, 0, 1);
    } catch {
      // It did not wait for the answer.
    }
  }
}
