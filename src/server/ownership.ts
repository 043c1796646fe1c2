/**
 * Gives windows to tenants: keeps what may be kept, wipes what another tenant left, and withholds a share until that is done.
 */
import type { WipeReport } from './admin/index.js';
import { ConfigError } from './config/index.js';
import type { ConfigProblem, Configuration, ShareConfig } from './config/index.js';
import type { Space } from './devices.js';
import type { EngineHost } from './engine/index.js';
import type { Claim, Judged, Ledger } from './ledger/index.js';
import type { Log } from './log.js';
import { messageOf } from './text.js';

/** Bytes that are wiped at one go: between two, the wipe can be stopped, and others get their turn at the device. */
const STEP_BYTES = 256 * 2 ** 20;
const PROGRESS_MILLISECONDS = 1_000;

interface Piece {
  readonly space: Space;
  readonly judged: Judged;
}

/** A piece whose wipe is due. */
interface Wipe extends Piece {
  doneBytes: number;
  state: 'waiting' | 'wiping' | 'failed';
  reason: string;
}

/** The bytes of a share's window. */
const range = ({ firstBlock, blocks, blockBytes }: ShareConfig): { first: number; bytes: number } => ({
  first: firstBlock * blockBytes,
  bytes: blocks * blockBytes,
});

export class Ownership {
  readonly #ledger: Ledger;
  readonly #spaces: readonly Space[];
  readonly #engines: ReadonlyMap<string, EngineHost>;
  readonly #log: Log;
  #wipes: Wipe[] = [];
  #stopping = false;
  #running: Promise<void> = Promise.resolve();

  constructor(ledger: Ledger, spaces: readonly Space[], engines: ReadonlyMap<string, EngineHost>, log: Log) {
    this.#ledger = ledger;
    this.#spaces = spaces;
    this.#engines = engines;
    this.#log = log;
  }

  /** Throws a {@link ConfigError} when the configuration gives away blocks of which nobody knows whose data they hold. Changes nothing. */
  check(configuration: Configuration): void {
    const problems = this.#judge(configuration).flatMap((piece): ConfigProblem[] => {
      if (piece.judged.verdict !== 'undecided') return [];
      const { id, image } = piece.space.namespace;
      return configuration.tenants.flatMap((tenant) =>
        tenant.shares
          .filter((share) => share.keepData === undefined && liesOn(share, piece))
          .map((share) => {
            const what = `nobody knows whose data ${image ?? `namespace ${id}`} holds here`;
            return configuration.problem(share.path, what, `say "keepData": true to give it to "${tenant.name}", or false to wipe it`);
          }),
      );
    });
    if (problems.length > 0) throw new ConfigError(problems);
  }

  /** Takes over a checked configuration: notes owners, and which wipes are due. From here on {@link withheld} answers for it. */
  async begin(configuration: Configuration): Promise<void> {
    await this.stop();
    const pieces = this.#judge(configuration);
    this.#ledger.begin(pieces.map(({ space, judged }) => ({ namespace: space.identity, judged })));
    this.#wipes = pieces.filter(({ judged }) => judged.verdict !== 'keep').map((piece) => ({ ...piece, doneBytes: 0, state: 'waiting', reason: '' }));
    for (const wipe of this.#wipes) this.#log.info('blocks change tenant and will be wiped', place(wipe));
  }

  /** Wipes what is due, one window after the other. `released` is called after each: shares may have become free. Never rejects. */
  run(released: () => void): Promise<void> {
    this.#running = this.#running.then(() => this.#run(released));
    return this.#running;
  }

  /** Stops after the step that is under way. What is not wiped yet stays noted in the ledger. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
    this.#stopping = false;
  }

  /** Whether a share may not be leased now. */
  withheld(share: ShareConfig): boolean {
    if (!this.#engines.has(share.device)) return true;
    return this.#wipes.some((wipe) => liesOn(share, wipe));
  }

  reports(): WipeReport[] {
    return this.#wipes.map((wipe) => ({
      ...place(wipe),
      done: wipe.doneBytes / wipe.space.namespace.blockBytes,
      tenants: wipe.judged.owners,
      state: wipe.state,
      reason: wipe.reason,
    }));
  }

  async #run(released: () => void): Promise<void> {
    for (const wipe of [...this.#wipes]) {
      if (this.#stopping) return;
      try {
        wipe.state = 'wiping';
        if (!(await this.#wipe(wipe))) return;
        this.#ledger.wiped(wipe.space.identity, wipe.judged);
        this.#wipes = this.#wipes.filter((other) => other !== wipe);
        this.#log.info('blocks are wiped', place(wipe));
        released();
      } catch (error) {
        wipe.state = 'failed';
        wipe.reason = messageOf(error);
        this.#log.error('blocks could not be wiped; the share is withheld until a reload or a restart', { ...place(wipe), error: wipe.reason });
      }
    }
  }

  /** True when all of it is wiped, false when it was stopped. */
  async #wipe(wipe: Wipe): Promise<boolean> {
    const { device, namespace } = wipe.space;
    const { blockBytes } = namespace;
    const { first, bytes: total } = wipe.judged;
    const engine = this.#engines.get(device);
    if (engine === undefined) throw new Error(`device ${device} is not running`);
    let told = Date.now();
    const progress = (bytes: number): void => {
      wipe.doneBytes = bytes;
      if (Date.now() - told < PROGRESS_MILLISECONDS) return;
      told = Date.now();
      this.#log.info('wiping', { device, namespace: namespace.id, bytes, of: total });
    };
    for (let done = 0; done < total;) {
      if (this.#stopping) return false;
      const from = done;
      const step = Math.min(STEP_BYTES, total - from);
      await engine.wipe(namespace.id, (first + from) / blockBytes, step / blockBytes, (blocks) => progress(from + blocks * blockBytes));
      done = from + step;
      progress(done);
    }
    return true;
  }

  #judge(configuration: Configuration): Piece[] {
    return this.#spaces.flatMap((space) => {
      const claims = configuration.tenants.flatMap((tenant) =>
        tenant.shares
          .filter((share) => liesIn(share, space))
          .map((share): Claim => ({ ...range(share), tenant: tenant.name, keepData: share.keepData })),
      );
      return this.#ledger.judge(space.identity, claims, space.namespace.blockBytes).map((judged): Piece => ({ space, judged }));
    });
  }
}

const liesIn = (share: ShareConfig, { device, namespace }: Space): boolean => share.device === device && share.namespace === namespace.id;

function liesOn(share: ShareConfig, { space, judged }: Piece): boolean {
  const { first, bytes } = range(share);
  return liesIn(share, space) && first < judged.first + judged.bytes && judged.first < first + bytes;
}

/** Where a piece lies, for logs and reports. */
function place({ space: { device, namespace }, judged }: Piece): { device: string; namespace: number; firstBlock: number; blocks: number } {
  const blocks = (bytes: number): number => bytes / namespace.blockBytes;
  return { device, namespace: namespace.id, firstBlock: blocks(judged.first), blocks: blocks(judged.bytes) };
}
