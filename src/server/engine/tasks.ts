/** Runs the state machines of an engine: resumes each on every turn, and tells how long the thread may sleep for their sake. */
import type { Clock, Task } from '../../hw/task.js';

interface Running {
  readonly name: string;
  readonly task: Task<unknown>;
  readonly done: (value: unknown) => void;
  readonly failed: (error: unknown) => void;
  due: number;
}

export class Tasks {
  readonly #clock: Clock;
  readonly #running: Running[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts a task on the next turn. Exactly one of the callbacks is called, once. They must not throw. */
  start<T>(name: string, task: Task<T>, done: (value: T) => void, failed: (error: unknown) => void): void {
    this.#running.push({ name, task, done: done as (value: unknown) => void, failed, due: 0 });
  }

  /** Resumes all. Returns how many ended. */
  turn(): number {
    let ended = 0;
    for (let index = 0; index < this.#running.length; index++) {
      const running = this.#running[index];
      if (!this.#resume(running)) continue;
      this.#running.splice(index--, 1);
      ended++;
    }
    return ended;
  }

  /** Milliseconds until one wants to be resumed; Infinity when there is none. */
  wait(): number {
    let due = Infinity;
    for (const running of this.#running) due = Math.min(due, running.due);
    return Math.max(0, due - this.#clock());
  }

  get count(): number {
    return this.#running.length;
  }

  inspect(): string[] {
    return this.#running.map((running) => running.name);
  }

  #resume(running: Running): boolean {
    try {
      const step = running.task.next();
      if (step.done === true) {
        running.done(step.value);
        return true;
      }
      running.due = this.#clock() + step.value;
      return false;
    } catch (error) {
      running.failed(error);
      return true;
    }
  }
}

/** Lets one task at a time into a section; the others wait their turn in order. */
export class Mutex {
  #holder = 0;
  #tickets = 0;

  /** Runs `section` when it is its turn. */
  *run<T>(section: () => Task<T>): Task<T> {
    const ticket = this.#tickets++;
    while (this.#holder !== ticket) yield 1;
    try {
      return yield* section();
    } finally {
      this.#holder++;
    }
  }
}
