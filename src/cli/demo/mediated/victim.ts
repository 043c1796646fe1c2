/** A tenant that works while others are attacked: what it must not notice is noted here. */
import { type BlockDevice, type Client, type Device, type Region, connect } from '../../../client/index.js';
import { messageOf } from '../../../server/text.js';
import type { Canary, Secret } from '../canary.js';
import { within } from '../within.js';
import { DEVICE, type DemoServer } from './server.js';

export const CANARY_BYTES = 64 * 1_024;
/** Regions that are given back at once, so that the handles of those that stay are no handles of the attacker's domain. */
const SKIPPED_REGIONS = 12;
const CANARY_REGIONS = 2;
/** Events that tell that somebody had an effect on this tenant. */
const INCIDENTS: ReadonlySet<string> = new Set(['reset', 'revoked', 'deviceLost', 'deviceRestored', 'namespaceChanged', 'draining']);

export class Victim {
  readonly name: 'alice' | 'bob';
  readonly client: Client;
  readonly device: Device;
  readonly share: BlockDevice;
  /** Memory that must not change, and that nobody else may see. */
  readonly canaries: readonly Canary[];
  readonly regions: readonly Region[];
  /** Number of its domain. */
  readonly domain: number;
  readonly #incidents: string[] = [];

  private constructor(
    name: 'alice' | 'bob',
    client: Client,
    device: Device,
    regions: readonly Region[],
    canaries: readonly Canary[],
    domain: number,
  ) {
    this.name = name;
    this.client = client;
    this.device = device;
    this.share = device.share();
    this.regions = regions;
    this.canaries = canaries;
    this.domain = domain;
    void this.#watch();
  }

  static async start(name: 'alice' | 'bob', server: DemoServer, secret: Secret): Promise<Victim> {
    const client = await connect({ socket: server.socket, tenant: name, token: server.tokens[name], name: `ringwarden demo, tenant ${name}` });
    try {
      const device = await client.openDevice(DEVICE, { queues: name === 'alice' ? 'own' : 'shared' });
      const skipped = await Promise.all(Array.from({ length: SKIPPED_REGIONS }, () => client.allocate(4_096)));
      const regions = await Promise.all(Array.from({ length: CANARY_REGIONS }, () => client.allocate(CANARY_BYTES)));
      await Promise.all(skipped.map((region) => region.unmap()));
      const canaries: Canary[] = [];
      for (const [index, region] of regions.entries()) {
        const expected = secret.fill(CANARY_BYTES, 100 + index);
        await region.write(0, expected);
        const what = `${name}'s memory ${index + 1}`;
        canaries.push({ name: what, expected, read: () => within(what, region.read(0, CANARY_BYTES)) });
      }
      return new Victim(name, client, device, regions, canaries, await client.domain());
    } catch (error) {
      await client.close();
      throw error;
    }
  }

  /** Everything that this tenant should never have been told, since the last time it was asked. */
  takeIncidents(): string[] {
    return this.#incidents.splice(0);
  }

  /** Whether the server still answers it; what it says instead, if it does not. */
  async ping(): Promise<string> {
    try {
      await within('the answer', this.client.ping());
      return '';
    } catch (error) {
      return `${this.name} gets no answer from the server: ${messageOf(error)}`;
    }
  }

  async close(): Promise<void> {
    await this.client.close();
  }

  async #watch(): Promise<void> {
    try {
      for await (const event of this.device.events()) {
        if (INCIDENTS.has(event.type)) this.#incidents.push(`${this.name} was told of ${event.type}`);
      }
    } catch (error) {
      this.#incidents.push(`${this.name} lost its session: ${messageOf(error)}`);
    }
  }
}
