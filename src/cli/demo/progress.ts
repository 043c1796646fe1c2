/** One line on the terminal that says what is going on; nothing where nobody sees it. */
const UPDATE_MS = 100;
const BAR_WIDTH = 20;

export class Progress {
  readonly #total: number;
  readonly #isShown = process.stderr.isTTY;
  #lastUpdate = 0;
  #isDirty = false;

  constructor(total: number) {
    this.#total = total;
  }

  show(done: number, what: string): void {
    if (!this.#isShown || performance.now() - this.#lastUpdate < UPDATE_MS) return;
    this.#lastUpdate = performance.now();
    const filled = Math.round((BAR_WIDTH * done) / this.#total);
    process.stderr.write(`\r\u001b[2K[${'#'.repeat(filled).padEnd(BAR_WIDTH, '.')}] ${done + 1}/${this.#total} ${what}`);
    this.#isDirty = true;
  }

  clear(): void {
    if (this.#isDirty) process.stderr.write('\r\u001b[2K');
    this.#isDirty = false;
  }
}
