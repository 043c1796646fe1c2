/**
 * From the messages of a peer to the work that they ask for, in the order that the protocol demands (R26).
 *
 * Control requests are worked on one at a time; submits go straight to their queue. Reading stops while answers wait to be read, while a submit waits
 * for staging memory, and while many requests wait for their turn.
 */
import type { RequestMessage, RequestType, Requests } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import { type RawMessage, decode, encode, encodeData, guardId, guardRequest, guardSubmit, idOf, isRequestType, show } from '../wire/index.js';
import type { Connection } from './connection.js';
import { HANDLERS, LATER } from './handlers/index.js';
import { Intake } from './intake.js';
import { MessageRate } from './rate.js';
import { Status } from './refusals.js';
import { RequestLine } from './request-line.js';
import type { Session } from './session.js';
import type { StagingPool } from './staging-pool.js';
import { submit } from './submit.js';

/** Control messages a second before hello: somebody may need more than one attempt, not many. */
const UNKNOWN_MESSAGES_PER_SECOND = 1;

export class Dispatcher {
  readonly #session: Session;
  readonly #intake: Intake;
  readonly #requests: RequestLine;
  #rate = new MessageRate(UNKNOWN_MESSAGES_PER_SECOND, performance.now());
  #lastId = 0;
  #submits = 0;
  /** A submit waits: for staging memory to be made, or for pages of it. */
  #holding = false;

  constructor(session: Session, connection: Connection) {
    this.#session = session;
    const isOpen = (): boolean => !session.ended && !session.outlet.choked;
    this.#intake = new Intake(
      connection,
      () => isOpen() && !this.#holding && !this.#requests.full,
      (bytes) => this.#take(bytes),
    );
    this.#requests = new RequestLine(
      isOpen,
      (request) => this.#answer(request),
      () => this.#intake.resume(),
    );
    connection.onMessage = (bytes, binary) => {
      if (session.ended) return;
      if (binary) this.#intake.receive(bytes);
      else session.refuse(new Refusal('malformed', '', 'a text frame'), 0);
    };
  }

  /** A control request is being worked on. */
  get busy(): boolean {
    return this.#requests.busy;
  }

  /** Hello was said: the account of messages starts anew, with the rate of the tenant. */
  start(messagesPerSecond: number): void {
    this.#rate = new MessageRate(messagesPerSecond, performance.now());
  }

  /** How many control messages a second the session may send from now on. */
  set messagesPerSecond(rate: number) {
    this.#rate.messagesPerSecond = rate;
  }

  /** The outlet is clear again. */
  resume(): void {
    this.#requests.resume();
    this.#intake.resume();
  }

  /** Requests were answered, or staging memory was made: the submit that waits may find room. */
  onRoom(): void {
    this.#holding = false;
    this.#intake.resume();
  }

  /** Drops what was not started. Resolves when what was is done. */
  async stop(): Promise<void> {
    this.#intake.clear();
    await this.#requests.stop();
  }

  #take(bytes: Uint8Array): void {
    let message: RawMessage;
    try {
      message = decode(bytes);
    } catch (error) {
      this.#session.refuse(error, 0);
      return;
    }
    if (message.type === 'submit') this.#submit(message, bytes);
    else this.#request(message, bytes.length);
  }

  #request(message: RawMessage, bytes: number): void {
    const { authenticated } = this.#session;
    try {
      this.#count();
      const { type } = message;
      if (type === undefined) throw new Refusal('missingField', 'type');
      if (typeof type !== 'string') throw new Refusal('wrongType', 'type', show(type));
      const id = guardId(message);
      if (id <= this.#lastId) throw new Refusal('replayedId', 'id', id);
      this.#lastId = id;
      if (!isRequestType(type)) throw new Refusal('unknownMessage', 'type', show(type));
      if (!authenticated && type !== 'hello') throw new Refusal('notAuthenticated', 'type', type);
      if (authenticated && type === 'hello') throw new Refusal('alreadyAuthenticated', 'type', type);
      this.#requests.add(guardRequest(type, message), bytes);
    } catch (error) {
      this.#session.refuse(error, idOf(message));
    }
  }

  #submit(message: RawMessage, bytes: Uint8Array): void {
    const session = this.#session;
    try {
      if (!session.authenticated) throw new Refusal('notAuthenticated', 'type', 'submit');
      const request = guardSubmit(message);
      if (session.takesNoSubmits) throw new Refusal('draining');
      const { domain, stagings } = session;
      if (domain === undefined || stagings === undefined) throw new Refusal('noDomain');
      if (session.leases.size === 0) throw new Refusal('noLease');
      const queue = session.lease(request.lease).queue(request.queue);
      const outcome = submit(queue, domain, stagings, request);
      if (outcome === 'pushed') {
        this.#submits++;
        return;
      }
      this.#holding = true;
      this.#intake.putBack(bytes);
      if (outcome === 'needsStaging') void this.#makeStaging(stagings);
    } catch (error) {
      if (this.#mayFitSoon(error)) {
        this.#holding = true;
        this.#intake.putBack(bytes);
      } else this.#refuseSubmit(error);
    }
  }

  /** A lease is being closed, which the client may know already: the staging memory of its requests comes back without completions. */
  #mayFitSoon(error: unknown): boolean {
    if (!(error instanceof Refusal && error.code === 'stagingFull')) return false;
    for (const lease of this.#session.leases.values()) if (lease.closing) return true;
    return false;
  }

  async #makeStaging(stagings: StagingPool): Promise<void> {
    try {
      await stagings.make();
    } catch (error) {
      // The submit that waits for it is the first message that is kept.
      this.#intake.dropFirst();
      this.#refuseSubmit(error);
    }
    this.onRoom();
  }

  /** A submit that is refused costs as much as a control message: refusals are messages, too. */
  #refuseSubmit(error: unknown): void {
    this.#submits++;
    try {
      this.#count();
      this.#session.refuse(error, 0, this.#submits);
    } catch (tooMany) {
      this.#session.refuse(tooMany, 0, this.#submits);
    }
  }

  #count(): void {
    if (!this.#rate.take(performance.now())) throw new Refusal('tooManyMessages');
  }

  /** Never rejects. */
  async #answer(request: RequestMessage): Promise<void> {
    const session = this.#session;
    const { id } = request;
    try {
      const result = await this.#handle(request.type, request);
      if (result === LATER) return;
      session.outlet.send('data' in result ? encodeData(id, result.data) : encode({ type: 'answer', id, ...result }));
    } catch (error) {
      session.refuse(error, id);
      // Whoever is not let in now has to come again on another connection.
      if (!session.authenticated) session.close(Status.tryAgainLater, 'not let in');
    }
  }

  async #handle<Type extends RequestType>(type: Type, request: Requests[Type] & { readonly id: number }) {
    const session = this.#session;
    const handler = HANDLERS[type];
    if (handler.isNewWork && session.services.isDraining()) throw new Refusal('draining');
    if (handler.needs !== 'nothing') session.mustHaveDomain();
    if (handler.needs === 'lease' && session.leases.size === 0) throw new Refusal('noLease');
    return handler.handle(session, request);
  }
}
