/**
 * Tells leases when their vectors fire: their session (R06), an event descriptor of theirs (R10), or both. A queue pair of a lease's own has a vector of its
 * own, and its MSI-X messages are counted. Where queues of several leases share a vector, a lease hears of the completions that are its own, and of nobody
 * else's.
 */
import type { Interrupts } from '../../hw/backing.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import { shm } from '../../native/shm.js';
import type { ClientQueue } from './client-queue.js';
import type { EnginePost } from './control.js';
import type { Lease } from './lease.js';

/** Of an MSI-X table (PCI Local Bus 3.0, 6.8.2). */
const MOST_VECTORS = 2_048;

interface Binding {
  readonly lease: Lease;
  readonly vector: number;
  /** The session is told. */
  session: boolean;
  /** Signal of the addon for the descriptor that is raised, or 0. It is ended here. */
  signal: number;
  /** The hardware vector that stands for it, or -1 where that is not the lease's alone; which counters it has; and the count last told of. */
  hardware: number;
  counters: Uint32Array | undefined;
  known: number;
  /** Turns with completions since, where the hardware's count is not the lease's alone. */
  turns: number;
}

export class InterruptForwarder {
  readonly #interrupts: Interrupts;
  readonly #post: EnginePost;
  readonly #pairs: () => Iterable<QueuePair>;
  readonly #bindings: Binding[] = [];
  /** Of each hardware vector: queue pairs that raise it. */
  readonly #raisedBy = new Uint16Array(MOST_VECTORS);

  /** `pairs`: the queue pairs that there are. */
  constructor(interrupts: Interrupts, post: EnginePost, pairs: () => Iterable<QueuePair>) {
    this.#interrupts = interrupts;
    this.#post = post;
    this.#pairs = pairs;
  }

  /** Tells the session from now on, or not any more. */
  tellSession(lease: Lease, vector: number, tell: boolean): void {
    const binding = this.#binding(lease, vector);
    binding.session = tell;
    this.#dropUnused(binding);
  }

  /** Raises `signal` from now on, or with 0 none. The earlier one is ended. */
  raise(lease: Lease, vector: number, signal: number): void {
    const binding = this.#binding(lease, vector);
    if (binding.signal !== 0) shm().signalEnd(binding.signal);
    binding.signal = signal;
    this.#dropUnused(binding);
  }

  /** Every binding of a lease that ends. */
  release(lease: Lease): void {
    for (const binding of this.#bindings.filter((one) => one.lease === lease)) {
      binding.session = false;
      this.raise(lease, binding.vector, 0);
    }
  }

  /** Every binding, at the end of the engine. */
  releaseAll(): void {
    for (const { lease } of [...this.#bindings]) this.release(lease);
  }

  inspect(): unknown {
    return this.#bindings.map(({ lease, vector, session, signal }) => ({
      lease: lease.handle,
      vector,
      session,
      descriptor: signal === 0 ? undefined : shm().signalCounters(signal),
    }));
  }

  /** Completions of this queue were shown to its client. */
  completed(queue: ClientQueue): void {
    for (const binding of this.#bindings) if (binding.lease === queue.owner && binding.vector === queue.queue) binding.turns++;
  }

  /** Tells what fired since the last turn. Costs nothing while nobody has bound a vector. */
  turn(): void {
    if (this.#bindings.length === 0) return;
    this.#countPairs();
    for (const binding of this.#bindings) {
      const count = this.#firedSince(binding);
      binding.turns = 0;
      if (count === 0) continue;
      if (binding.session) this.#post.event('interrupt', [binding.lease.handle, binding.vector, count]);
      if (binding.signal !== 0) shm().signalRaise(binding.signal, count);
    }
  }

  #firedSince(binding: Binding): number {
    const { fired } = this.#interrupts;
    const hardware = this.#hardware(binding.lease, binding.vector);
    // A queue pair that is new, or interrupts that were enabled again: what was counted before is not of this vector.
    const isNew = hardware !== binding.hardware || fired !== binding.counters;
    binding.hardware = hardware;
    binding.counters = fired;
    if (hardware < 0) return binding.turns;
    const count = isNew ? binding.turns : (fired[hardware] - binding.known) >>> 0;
    binding.known = fired[hardware];
    return count;
  }

  #binding(lease: Lease, vector: number): Binding {
    const bound = this.#bindings.find((one) => one.lease === lease && one.vector === vector);
    if (bound !== undefined) return bound;
    const binding: Binding = { lease, vector, session: false, signal: 0, hardware: -1, counters: undefined, known: 0, turns: 0 };
    this.#bindings.push(binding);
    return binding;
  }

  #countPairs(): void {
    this.#raisedBy.fill(0, 0, this.#interrupts.fired.length);
    for (const { vector } of this.#pairs()) if (vector >= 0) this.#raisedBy[vector]++;
  }

  #dropUnused(binding: Binding): void {
    if (!binding.session && binding.signal === 0) this.#bindings.splice(this.#bindings.indexOf(binding), 1);
  }

  /** The hardware vector that stands for a lease's vector, or -1 where it is not the lease's alone. */
  #hardware(lease: Lease, vector: number): number {
    const hardware = lease.queues[vector]?.pair?.vector ?? -1;
    return lease.kind === 'own' && hardware >= 0 && hardware < this.#interrupts.fired.length && this.#raisedBy[hardware] === 1 ? hardware : -1;
  }
}
