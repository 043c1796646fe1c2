/** How far a copy is, on standard error: a bar on a terminal, and a line every few seconds anywhere else. */
import { formatBytes } from './format.js';

/** What takes no longer than this needs no progress. */
const QUIET_MILLISECONDS = 1_000;
const LINE_MILLISECONDS = 3_000;
const BAR_MILLISECONDS = 100;

interface View {
  show(bytes: number): void;
  end(): void;
}

export class Progress {
  readonly #title: string;
  readonly #total: number | undefined;
  readonly #started = Date.now();
  #view: View | undefined;
  #bytes = 0;
  #ended = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(title: string, total: number | undefined) {
    this.#title = title;
    this.#total = total;
    this.#timer = setTimeout(() => void this.#begin(), QUIET_MILLISECONDS);
  }

  async #begin(): Promise<void> {
    const isTerminal = process.stderr.isTTY;
    const view = isTerminal ? await bar(this.#title, this.#total) : lines(this.#title, this.#total, this.#started);
    if (this.#ended) return;
    this.#view = view;
    view.show(this.#bytes);
    this.#timer = setInterval(() => view.show(this.#bytes), isTerminal ? BAR_MILLISECONDS : LINE_MILLISECONDS);
  }

  readonly update = (bytes: number): void => {
    this.#bytes = bytes;
  };

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#view?.show(this.#bytes);
    this.#view?.end();
  }
}

async function bar(title: string, total: number | undefined): Promise<View> {
  const { default: progress } = await import('cli-progress');
  const format = total === undefined ? `${title} {done}` : `${title} [{bar}] {percentage}% | {done} of {all} | {eta_formatted} left`;
  const view = new progress.SingleBar({ format, hideCursor: null, noTTYOutput: false, clearOnComplete: true }, progress.Presets.legacy);
  const all = formatBytes(total ?? 0);
  view.start(total ?? 0, 0, { done: formatBytes(0), all });
  return { show: (bytes) => view.update(bytes, { done: formatBytes(bytes), all }), end: () => view.stop() };
}

function lines(title: string, total: number | undefined, started: number): View {
  let last = -1;
  const show = (bytes: number): void => {
    if (bytes === last) return;
    last = bytes;
    const seconds = Math.max(0.001, (Date.now() - started) / 1_000);
    const share = total === undefined || total === 0 ? '' : ` of ${formatBytes(total)} (${Math.floor((bytes * 100) / total)} %)`;
    process.stderr.write(`${title}: ${formatBytes(bytes)}${share}, ${formatBytes(bytes / seconds)}/s\n`);
  };
  return { show, end: () => undefined };
}
