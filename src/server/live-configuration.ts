/** The configuration that is in force, what tenants may do under it, and how another one takes its place. */
import type { ReloadResult } from './admin/index.js';
import { ConfigError } from './config/index.js';
import type { Configuration, Environment } from './config/index.js';
import { fitShares } from './devices.js';
import type { EngineHost } from './engine/index.js';
import type { Log } from './log.js';
import type { Ownership } from './ownership.js';
import type { TenantDirectory } from './policy.js';
import { TenantIndices, createDirectory } from './tenants.js';
import { messageOf } from './text.js';

/** Parts that are read at the start only. */
const FIXED = ['devices', 'unix', 'tcp', 'admin', 'state', 'limits', 'log', 'drainMilliseconds'] as const satisfies readonly (keyof Configuration)[];
const FIXED_NAMES: Readonly<Record<(typeof FIXED)[number], string>> = {
  devices: 'devices',
  unix: 'listen.unix',
  tcp: 'listen.tcp',
  admin: 'admin',
  state: 'state',
  limits: 'limits',
  log: 'log',
  drainMilliseconds: 'drain',
};

export interface LiveOptions {
  readonly configuration: Configuration;
  /** Reads the configuration again. @throws ConfigError */
  readonly load: () => Configuration;
  readonly environment: Environment;
  readonly engines: ReadonlyMap<string, EngineHost>;
  readonly ownership: Ownership;
  readonly log: Log;
}

export class LiveConfiguration {
  readonly #options: LiveOptions;
  readonly #indices = new TenantIndices();
  #configuration: Configuration;
  #directory: TenantDirectory;
  #reloading: Promise<unknown> = Promise.resolve();
  /** Makes sessions follow the directory. Set once there are sessions. */
  onPolicy: () => void | Promise<void> = () => undefined;

  /** Takes the configuration over; {@link begin} has to follow. @throws ConfigError when it does not fit the devices or the ledger */
  constructor(options: LiveOptions) {
    this.#options = options;
    this.#configuration = this.#fitted(options.configuration);
    this.#directory = this.#newDirectory();
  }

  get configuration(): Configuration {
    return this.#configuration;
  }

  get directory(): TenantDirectory {
    return this.#directory;
  }

  /** Notes in the ledger who has what. Shares whose blocks need a wipe are withheld until {@link startWipes} has done it. */
  async begin(): Promise<void> {
    await this.#options.ownership.begin(this.#configuration);
    this.#directory = this.#newDirectory();
  }

  /** Resolves when every wipe that is due has ended. */
  startWipes(): Promise<void> {
    return this.#options.ownership.run(() => void this.#released());
  }

  /** Reads the configuration again and puts it in force, or says why the old one stays. Never rejects; one at a time. */
  reload(): Promise<ReloadResult> {
    const result = this.#reloading.then(() => this.#reload());
    this.#reloading = result;
    return result;
  }

  async #reload(): Promise<ReloadResult> {
    const { load, log, ownership } = this.#options;
    let next: Configuration;
    try {
      next = this.#fitted(load());
    } catch (error) {
      const messages = error instanceof ConfigError ? error.problems.map(String) : [messageOf(error)];
      for (const message of messages) log.error('the new configuration is not used', { problem: message });
      return { applied: false, messages };
    }
    const messages = this.#restartNeeded(next);
    for (const message of messages) log.warn(message);
    try {
      await ownership.begin(next);
    } catch (error) {
      void this.startWipes();
      return this.#notApplied(messages, error);
    }
    try {
      this.#configuration = next;
      await this.#follow();
    } catch (error) {
      // Windows that change hands stay withheld: who had them may be using them still.
      return this.#notApplied(messages, error);
    }
    void this.startWipes();
    log.info('the new configuration is in force', { tenants: next.tenants.length });
    return { applied: true, messages };
  }

  #notApplied(messages: string[], error: unknown): ReloadResult {
    this.#options.log.error('the new configuration could not be put in force', { error: messageOf(error) });
    return { applied: false, messages: [...messages, messageOf(error)] };
  }

  /** The configuration in terms of the devices as they are. Everything that can be wrong is found here, before anything changes. */
  #fitted(configuration: Configuration): Configuration {
    const fitted = fitShares(configuration, this.#options.engines);
    this.#options.ownership.check(fitted);
    return fitted;
  }

  #restartNeeded(next: Configuration): string[] {
    return FIXED.filter((key) => JSON.stringify(next[key]) !== JSON.stringify(this.#options.configuration[key])).map(
      (key) => `${FIXED_NAMES[key]} changed: that takes effect when the server is started again`,
    );
  }

  /** A share became free. */
  async #released(): Promise<void> {
    try {
      await this.#follow();
    } catch (error) {
      this.#options.log.error('sessions could not follow', { error: messageOf(error) });
    }
  }

  /** @throws when the sessions may have leases that the configuration no longer grants. */
  async #follow(): Promise<void> {
    this.#directory = this.#newDirectory();
    const { engines, log } = this.#options;
    for (const engine of engines.values()) {
      try {
        await Promise.all(this.#directory.all.map(({ index, weight, rates }) => engine.setTenant(index, weight, rates)));
      } catch (error) {
        // It is away: it has no leases, and each that is opened later brings its weight along.
        log.debug('weights could not be told', { device: engine.name, error: messageOf(error) });
      }
    }
    await this.onPolicy();
  }

  #newDirectory(): TenantDirectory {
    const { environment, ownership } = this.#options;
    return createDirectory({
      configuration: this.#configuration,
      indices: this.#indices,
      environment,
      withheld: (share) => ownership.withheld(share),
    });
  }
}
