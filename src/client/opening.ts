/** A lease between the answer to openDevice and its queue. */
import type { EventMessage, LeaseInfo } from '../protocol/index.js';
import { invalidArgument, malformed } from './errors.js';
import type { LeaseOwner } from './session.js';

/** Keeps the events of a lease that has no queue yet. */
export class Opening implements LeaseOwner {
  readonly info: LeaseInfo;
  readonly events: EventMessage[] = [];

  constructor(info: LeaseInfo) {
    this.info = info;
  }

  /** What a program asks for of a lease that its launcher opened has to be what that opened. */
  check(wanted: { readonly [Name in 'mode' | 'queues']?: LeaseInfo[Name] | undefined }): void {
    for (const name of ['mode', 'queues'] as const) {
      const asked = wanted[name];
      if (asked === undefined || asked === this.info[name]) continue;
      throw invalidArgument(`open ${this.info.device}`, name, asked, `${this.info[name]}, as "ringwarden run" opened it (its option --${name})`);
    }
  }

  event(message: EventMessage): void {
    this.events.push(message);
  }

  completed(): void {
    throw malformed('completions of a lease without a queue');
  }

  refused(): void {
    // Nothing was submitted yet.
  }

  ended(): void {
    // The calls of `openDevice` end with the connection by themselves.
  }
}
