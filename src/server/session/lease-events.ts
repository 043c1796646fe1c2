/** From what the engines tell about the leases of a session to event messages. */
import { type EventMessage, codeName } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';
import type { SessionLease } from './lease.js';
import type { Session } from './session.js';

export class LeaseEvents {
  readonly #session: Session;
  /** Interrupts that fired while the outlet was choked: one event each, with the sum. */
  readonly #interrupts = new Map<string, { lease: SessionLease; vector: number; count: number }>();

  constructor(session: Session) {
    this.#session = session;
  }

  interrupt(lease: SessionLease, vector: number, count: number): void {
    if (!lease.boundVectors.has(vector)) return;
    if (!this.#session.outlet.choked) {
      this.#tell(lease, { type: 'event', event: 'interrupt', lease: lease.handle, vector, count });
      return;
    }
    const key = `${lease.handle}/${vector}`;
    const earlier = this.#interrupts.get(key)?.count ?? 0;
    this.#interrupts.set(key, { lease, vector, count: earlier + count });
  }

  /** The outlet is clear again: tells what was kept. */
  flush(): void {
    const kept = [...this.#interrupts.values()];
    this.#interrupts.clear();
    for (const { lease, vector, count } of kept) if (!lease.closing) this.interrupt(lease, vector, count);
  }

  namespaceChanged(lease: SessionLease, share: number): void {
    this.#tell(lease, { type: 'event', event: 'namespaceChanged', lease: lease.handle, share });
  }

  // What ended comes before the event that says why.

  reset(lease: SessionLease, generation: number, reason: string): void {
    lease.generation = generation;
    lease.deliver();
    this.#tell(lease, { type: 'event', event: 'reset', lease: lease.handle, generation, reason });
  }

  revoked(lease: SessionLease, reason: string): void {
    if (lease.closing) return;
    lease.deliver();
    this.#tell(lease, { type: 'event', event: 'revoked', lease: lease.handle, reason });
    void lease.close(reason);
  }

  deviceLost(lease: SessionLease, reason: string): void {
    lease.deliver();
    this.#tell(lease, { type: 'event', event: 'deviceLost', device: lease.engine.name, lease: lease.handle, reason });
  }

  deviceRestored(lease: SessionLease, generation: number): void {
    lease.generation = generation;
    this.#tell(lease, { type: 'event', event: 'deviceRestored', device: lease.engine.name, lease: lease.handle, generation });
  }

  ringFault(code: number): void {
    this.#session.refuse(new Refusal(codeName(code) ?? 'ringContract'), 0);
  }

  #tell(lease: SessionLease, event: EventMessage): void {
    if (lease.announced) this.#session.event(event);
  }
}
