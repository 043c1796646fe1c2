/** Control messages on their way: each has an id that rises, and one answer. */
import { forgetAbort, whenAborted } from './abort.js';
import type { RequestType, Requests } from '../protocol/index.js';
import type { ConnectionError, RingwardenError } from './errors.js';
import { atCaller, malformed } from './errors.js';
import type { Incoming, Link } from './link.js';

export interface CallOptions<Result> {
  signal?: AbortSignal | undefined;
  /** Undoes what the answer brought when nobody waits for it any more. */
  undo?: (result: Result) => void;
}

interface Call {
  readonly type: RequestType;
  answered(answer: Incoming): void;
  failed(error: Error): void;
}

export class Calls {
  readonly #link: () => Link;
  readonly #pending = new Map<number, Call>();
  #lastId = 0;

  constructor(link: () => Link) {
    this.#link = link;
  }

  /**
   * Asks, and resolves with what `read` makes of the answer. `read` runs when the answer arrives, before any later message is looked at; it
   * throws a ConnectionError for an answer that is not one. An aborted call is still waited for: its answer is undone.
   */
  async call<Type extends RequestType, Result>(
    type: Type,
    fields: Requests[Type],
    read: (answer: Incoming) => Result,
    options: CallOptions<Result> = {},
  ): Promise<Result> {
    try {
      return await this.#send(type, fields, read, options);
    } catch (error) {
      throw atCaller(error);
    }
  }

  /** Waits for the answer to the next id, whose request a launcher has sent. */
  expect<Result>(type: RequestType, read: (answer: Incoming) => Result): Promise<Result> {
    return new Promise((resolve, reject) => {
      const answered = (answer: Incoming): void => resolve(read(answer));
      this.#pending.set(++this.#lastId, { type, answered, failed: reject });
    });
  }

  #send<Type extends RequestType, Result>(
    type: Type,
    fields: Requests[Type],
    read: (answer: Incoming) => Result,
    { signal, undo }: CallOptions<Result>,
  ): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      signal?.throwIfAborted();
      const link = this.#link();
      if (link.end !== undefined) throw link.end;
      const id = ++this.#lastId;
      const onAbort = (): void => reject(signal?.reason as Error);
      whenAborted(signal, onAbort);
      this.#pending.set(id, {
        type,
        answered: (answer) => {
          forgetAbort(signal, onAbort);
          const result = read(answer);
          if (signal?.aborted === true) undo?.(result);
          resolve(result);
        },
        failed: (error) => {
          forgetAbort(signal, onAbort);
          reject(error);
        },
      });
      link.send({ type, id, ...fields });
    });
  }

  /** Takes the answer to a call. Throws a ConnectionError when it answers nothing. */
  answered(answer: Incoming): void {
    const call = this.#take(answer['id']);
    try {
      call.answered(answer);
    } catch (error) {
      call.failed(error as Error);
      throw error;
    }
  }

  /** Takes the refusal of a call. */
  refused(id: number, errorOf: (type: RequestType) => RingwardenError): void {
    const call = this.#take(id);
    call.failed(errorOf(call.type));
  }

  #take(id: unknown): Call {
    const call = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (call === undefined) throw malformed(`an answer to message ${String(id)}, which is not waiting for one`);
    this.#pending.delete(id as number);
    return call;
  }

  /** Fails every call that waits. */
  end(error: ConnectionError): void {
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of calls) call.failed(error);
  }
}
