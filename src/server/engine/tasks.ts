/** Runs the state machines of an engine: resumes each on every turn, and tells how long the thread may sleep for their sake. */
import type { Clock, Task } from '../../hw/task.js';

/** Tasks resumed on one turn: a tenant that ends thousands of regions at once does not stop the requests of the others meanwhile. */
const MOST_A_TURN = 64;

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
  /** Whose turn it is; 0 when all had theirs. */
  #next = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts a task on the next turn. Exactly one of the callbacks is called, once. They must not throw. */
  start<T>(name: string, task: Task<T>, done: (value: T) => void, failed: (error: unknown) => void): void {
    this.#running.push({ name, task, done: done as (value: unknown) => void, failed, due: 0 });
  }

  /** Resumes all, or as many as one turn of the engine has time for, and the others on the next turns. Returns how many ended. */
  turn(): number {
    const running = this.#running;
    let ended = 0;
    for (let left = MOST_A_TURN; left > 0 && this.#next < running.length; left--) {
      if (this.#resume(running[this.#next])) {
        running.splice(this.#next, 1);
        ended++;
      } else {
        this.#next++;
      }
    }
    if (this.#next >= running.length) this.#next = 0;
    return ended;
  }

  /** Milliseconds until one wants to be resumed; Infinity when there is none. */
  wait(): number {
    if (this.#next > 0) return 0;
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
