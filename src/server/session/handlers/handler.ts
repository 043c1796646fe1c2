/** What answers one type of request. */
import type { Answers, Requests, RequestType } from '../../../protocol/index.js';
import type { Session } from '../session.js';

/** Returned by a handler whose answer the session sends by itself, later. */
export const LATER = Symbol('later');

export interface Handler<Type extends RequestType> {
  /** How far the session must have come (R26): each stage has its own code. */
  readonly needs: 'nothing' | 'domain' | 'lease';
  /** Refused while the server drains. */
  readonly isNewWork: boolean;
  /** Throws a Refusal, or what the engine threw. */
  handle(session: Session, request: Requests[Type] & { readonly id: number }): Answers[Type] | typeof LATER | Promise<Answers[Type] | typeof LATER>;
}
