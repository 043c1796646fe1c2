/**
 * Tells leases when their vectors fire: their session (R06), an event descriptor of theirs (R10), or both. A queue pair of a lease's own has a vector of its
 * own, and its MSI-X messages are counted. Where queues of several leases share a vector, a lease hears of the completions that are its own, and of nobody
 * else's.
 *
 * A turn of the engine on which nothing fired and nothing completed costs nothing, however many vectors are bound.
 */
import type { Interrupts } from '../../hw/backing.js';
import type { QueuePair } from '../../hw/nvme/index.js';
import { shm } from '../../native/shm.js';
import type { VectorState } from './api.js';
import type { ClientQueue } from './client-queue.js';
import type { EnginePost } from './control.js';
import type { Lease } from './lease.js';

interface Binding {
  readonly lease: Lease;
  readonly vector: number;
  /** The session is told. */
  session: boolean;
  /** Signal of the addon for the descriptor that is raised, or 0. It is ended here. */
  signal: number;
  /** The queue pair whose messages are counted; undefined while completions are. */
  pair: QueuePair | undefined;
  /** Hardware counter of the pair's vector that was last told of. */
  known: number;
  /** Turns with completions since the last that was told. */
  turns: number;
  /** Times that it fired since it was bound. */
  total: number;
  /** To be looked at on this turn. */
  changed: boolean;
}

export class InterruptForwarder {
  readonly #interrupts: Interrupts;
  readonly #post: EnginePost;
  readonly #isAlone: (hardwareVector: number) => boolean;
  /** Of each lease handle, by vector. */
  readonly #bindings = new Map<number, (Binding | undefined)[]>();
  readonly #changed: Binding[] = [];
  /** Messages of the hardware that were looked at. */
  #total = 0;

  /** `isAlone` says whether one queue pair alone uses a hardware vector. */
  constructor(interrupts: Interrupts, post: EnginePost, isAlone: (hardwareVector: number) => boolean) {
    this.#interrupts = interrupts;
    this.#post = post;
    this.#isAlone = isAlone;
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
  release(lease: number): void {
    for (const binding of this.#bindings.get(lease) ?? []) if (binding !== undefined && binding.signal !== 0) shm().signalEnd(binding.signal);
    this.#bindings.delete(lease);
  }

  /** Every binding, at the end of the engine. */
  releaseAll(): void {
    for (const lease of [...this.#bindings.keys()]) this.release(lease);
  }

  inspect(): unknown {
    const bound = [...this.#bindings.values()].flat().filter((binding) => binding !== undefined);
    return bound.map(({ lease, vector, session, signal, total }) => ({
      lease: lease.handle,
      vector,
      session,
      interrupts: total,
      descriptor: signal === 0 ? undefined : shm().signalCounters(signal),
    }));
  }

  state(lease: Lease, vector: number): VectorState {
    const binding = this.#bindings.get(lease.handle)?.[vector];
    const { session = false, signal = 0, total = 0 } = binding ?? {};
    const signals = signal === 0 ? 0 : (shm().signalCounters(signal)?.signals ?? 0);
    return { session, eventfd: signal !== 0, interrupts: total, signals };
  }

  /** Completions of this queue were shown to its client. */
  completed(queue: ClientQueue): void {
    const binding = this.#bindings.get(queue.lease)?.[queue.queue];
    if (binding === undefined) return;
    binding.turns++;
    this.#mark(binding);
  }

  /** Tells what fired since the last turn. */
  turn(): void {
    const { total } = this.#interrupts;
    if (total !== this.#total) {
      this.#total = total;
      this.#markFired();
    }
    if (this.#changed.length === 0) return;
    for (const binding of this.#changed) {
      binding.changed = false;
      const count = this.#take(binding);
      if (count === 0) continue;
      binding.total += count;
      if (binding.session) this.#post.event('interrupt', [binding.lease.handle, binding.vector, count]);
      if (binding.signal !== 0) shm().signalRaise(binding.signal, count);
    }
    this.#changed.length = 0;
  }

  #binding(lease: Lease, vector: number): Binding {
    const bindings = this.#bindings.get(lease.handle) ?? [];
    this.#bindings.set(lease.handle, bindings);
    const pair = this.#countedPair(lease, vector);
    const known = pair === undefined ? 0 : this.#interrupts.fired[pair.vector];
    return (bindings[vector] ??= { lease, vector, session: false, signal: 0, pair, known, turns: 0, total: 0, changed: false });
  }

  #dropUnused(binding: Binding): void {
    if (binding.session || binding.signal !== 0) return;
    const bindings = this.#bindings.get(binding.lease.handle);
    if (bindings !== undefined) bindings[binding.vector] = undefined;
  }

  #mark(binding: Binding): void {
    if (binding.changed) return;
    binding.changed = true;
    this.#changed.push(binding);
  }

  #markFired(): void {
    const { fired } = this.#interrupts;
    for (const bindings of this.#bindings.values()) {
      for (const binding of bindings) {
        if (binding?.pair !== undefined && fired[binding.pair.vector] !== binding.known) this.#mark(binding);
      }
    }
  }

  /** How often it fired since it was last asked. */
  #take(binding: Binding): number {
    const { turns, lease, vector } = binding;
    if (this.#bindings.get(lease.handle)?.[vector] !== binding) return 0;
    binding.turns = 0;
    const pair = this.#countedPair(lease, vector);
    const fired = pair === undefined ? 0 : this.#interrupts.fired[pair.vector];
    if (pair === undefined || pair !== binding.pair) {
      // Messages before its first completion may be those of the vector's earlier user.
      binding.pair = turns > 0 ? pair : undefined;
      binding.known = fired;
      return turns;
    }
    // Counters start again when interrupts are enabled again.
    const count = fired >= binding.known ? fired - binding.known : fired;
    binding.known = fired;
    return count;
  }

  /** The queue pair whose messages stand for a lease's vector, or undefined where the hardware vector is not the lease's alone. */
  #countedPair(lease: Lease, vector: number): QueuePair | undefined {
    const pair = lease.kind === 'own' ? lease.queues[vector]?.pair : undefined;
    if (pair === undefined || pair.vector < 0 || pair.vector >= this.#interrupts.fired.length) return undefined;
    return this.#isAlone(pair.vector) ? pair : undefined;
  }
}
