/**
 * Looks for completions for a short while after something happened, so that the answer to a lone request does not wait for a thread to be woken. An idle server
 * does not spin: without news it stops, and relies on `onCompletions`. One for the whole process.
 */

/** What can be polled. */
export interface Pollable {
  /** Set while the spinner has it in its list. */
  watched: boolean;
  /** Answers that are still to come. */
  readonly inFlight: number;
  /** Passes on what has arrived, and says how much that was. */
  deliver(): number;
}

/** How long to look without finding anything, in milliseconds. */
const PATIENCE_MILLISECONDS = 0.05;
/** Queues with more requests in flight are left alone: they are after throughput, and looking too often would cut their answers into small messages. */
const MOST_IN_FLIGHT = 4;

export class ActivitySpinner {
  readonly #watched: Pollable[] = [];
  #until = 0;
  #armed = false;

  /** Requests were pushed: their completions may be near. */
  watch(queue: Pollable): void {
    if (queue.inFlight > MOST_IN_FLIGHT) return;
    if (!queue.watched) {
      queue.watched = true;
      this.#watched.push(queue);
    }
    this.#until = performance.now() + PATIENCE_MILLISECONDS;
    if (this.#armed) return;
    this.#armed = true;
    setImmediate(this.#turn);
  }

  readonly #turn = (): void => {
    let found = 0;
    for (let index = this.#watched.length - 1; index >= 0; index--) {
      const queue = this.#watched[index];
      found += queue.deliver();
      if (queue.inFlight === 0 || queue.inFlight > MOST_IN_FLIGHT) this.#forget(index);
    }
    const now = performance.now();
    if (found > 0) this.#until = now + PATIENCE_MILLISECONDS;
    if (this.#watched.length > 0 && now < this.#until) {
      setImmediate(this.#turn);
      return;
    }
    while (this.#watched.length > 0) this.#forget(this.#watched.length - 1);
    this.#armed = false;
  };

  #forget(index: number): void {
    this.#watched[index].watched = false;
    const last = this.#watched.pop();
    if (last !== undefined && index < this.#watched.length) this.#watched[index] = last;
  }
}
