/** A tenant that means to go on working, whatever becomes of its device: opens it again when it was lost, and finds there what it left. */
import { expect } from 'vitest';
import { eventually } from '../support/processes.js';
import { MIB, sdk, type Client } from '../support/server.js';
import { Workload } from '../support/workload.js';

type Device = Awaited<ReturnType<Client['openDevice']>>;

/** Written once and flushed, and never again: whatever happens later, it must be there. Behind the blocks that the work is on. */
const KEPT = Buffer.alloc(MIB, 'what must not be lost ');
const KEPT_AT = 8 * MIB;

/** What a request may be answered with when its device goes, and what opening the device may be until it is back. */
const CODES = /^(deviceLost|leaseNotActive|revoked|reset|deviceUnavailable)$/;

const codeOf = (error: unknown): string => (error instanceof sdk.RingwardenError ? error.code : String(error));

export class Survivor {
  readonly #client: Client;
  readonly #seed: number;
  #device: Device | undefined;
  #work: Workload | undefined;
  /** Requests of work that came to a good end or was interrupted. */
  requests = 0;

  constructor(client: Client, seed: number) {
    this.#client = client;
    this.#seed = seed;
  }

  /** Opens the device, as soon as that can be had, looks after what was kept, and begins to work. */
  async begin(): Promise<void> {
    const isFirst = this.requests === 0;
    this.#device = await eventually('the device', async () => {
      try {
        return await this.#client.openDevice('nvme0');
      } catch (error) {
        expect(codeOf(error)).toMatch(CODES);
        return undefined;
      }
    });
    const share = this.#device.share();
    if (isFirst) {
      await share.write(KEPT_AT, KEPT);
      await share.flush();
    }
    await this.#checkKept();
    this.#work = new Workload(share, { seed: this.#seed, lanes: 2 });
    await this.#work.filled;
  }

  async #checkKept(): Promise<void> {
    const found = await this.#device?.share().read(KEPT_AT, KEPT.length);
    expect(found !== undefined && KEPT.equals(found), 'what was kept').toBe(true);
  }

  /** Ends the work, which nothing has disturbed. */
  async end(): Promise<void> {
    await this.#work?.stop();
    this.#count();
    await this.#checkKept();
    await this.#device?.close();
  }

  /** The device was taken away: the work ends with a code, and what it had read was right. Then it begins again. */
  async beginAgain(): Promise<void> {
    const end = await this.#work?.stop().then(() => 'it went on', codeOf);
    expect(end).toMatch(CODES);
    this.#count();
    await this.#device?.close().catch((error: unknown) => expect(codeOf(error)).toBe('noLease'));
    await this.begin();
  }

  #count(): void {
    expect(this.#work?.mismatches).toEqual([]);
    this.requests += this.#work?.requests ?? 0;
  }
}
