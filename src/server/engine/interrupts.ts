/**
 * Tells leases when their vectors fire (R06). A queue pair of a lease's own has a vector of its own, and its MSI-X messages are counted. Where queues of
 * several leases share a vector, a lease hears of the completions that are its own, and of nobody else's.
 */
import type { Interrupts } from '../../hw/backing.js';
import type { ClientQueue } from './client-queue.js';
import type { EnginePost } from './control.js';
import type { Lease } from './lease.js';

interface Binding {
  readonly lease: Lease;
  readonly vector: number;
  /** Hardware counter last told of. */
  known: number;
  /** Turns with completions since, where the hardware's count is not the lease's alone. */
  turns: number;
}

export class InterruptForwarder {
  readonly #interrupts: Interrupts;
  readonly #post: EnginePost;
  readonly #isAlone: (hardwareVector: number) => boolean;
  readonly #bindings: Binding[] = [];

  /** `isAlone` says whether one queue pair alone uses a hardware vector. */
  constructor(interrupts: Interrupts, post: EnginePost, isAlone: (hardwareVector: number) => boolean) {
    this.#interrupts = interrupts;
    this.#post = post;
    this.#isAlone = isAlone;
  }

  bind(lease: Lease, vector: number): void {
    this.unbind(lease, vector);
    const hardware = this.#hardware(lease, vector);
    this.#bindings.push({ lease, vector, known: hardware < 0 ? 0 : this.#interrupts.fired[hardware], turns: 0 });
  }

  unbind(lease: Lease, vector: number): void {
    const index = this.#bindings.findIndex((binding) => binding.lease === lease && binding.vector === vector);
    if (index >= 0) this.#bindings.splice(index, 1);
  }

  /** Every binding of a lease that ends. */
  release(lease: Lease): void {
    for (let index = this.#bindings.length - 1; index >= 0; index--) if (this.#bindings[index].lease === lease) this.#bindings.splice(index, 1);
  }

  /** Completions of this queue were shown to its client. */
  completed(queue: ClientQueue): void {
    for (const binding of this.#bindings) if (binding.lease === queue.owner && binding.vector === queue.queue) binding.turns++;
  }

  /** Tells what fired since the last turn. Costs nothing while nobody has bound a vector. */
  turn(): void {
    for (const binding of this.#bindings) {
      const hardware = this.#hardware(binding.lease, binding.vector);
      let count = binding.turns;
      if (hardware >= 0) {
        const fired = this.#interrupts.fired[hardware];
        // Counters start again when interrupts are enabled again.
        count = fired >= binding.known ? fired - binding.known : fired;
        binding.known = fired;
      }
      binding.turns = 0;
      if (count > 0) this.#post.event('interrupt', [binding.lease.handle, binding.vector, count]);
    }
  }

  /** The hardware vector that stands for a lease's vector, or -1 where it is not the lease's alone. */
  #hardware(lease: Lease, vector: number): number {
    const hardware = lease.queues[vector]?.pair?.vector ?? -1;
    return lease.kind === 'own' && hardware >= 0 && hardware < this.#interrupts.fired.length && this.#isAlone(hardware) ? hardware : -1;
  }
}
