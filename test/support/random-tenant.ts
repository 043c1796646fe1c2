/**
 * A tenant that does everything a client can do, in an order that its seed decides, and knows what every one of its blocks may hold. Its lanes work at the same
 * time, each on blocks of its own; beside them the lease is reset, closed and opened again, by messages or with rings, or taken away by others.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../oracle/random.js';
import { BlockModel, ZERO } from './block-model.js';
import { eventually } from './processes.js';
import { type Client, type Server, sdk } from './server.js';

type Device = Awaited<ReturnType<Client['openDevice']>>;
type Region = Awaited<ReturnType<Client['allocate']>>;

const LANE_BLOCKS = 64;
const MOST_BLOCKS = 16;
/** What opening a device or making memory may be refused with, for a while. */
const FOR_NOW: ReadonlySet<string> = new Set(['unknownDevice', 'noFreeQueue', 'deviceMemoryLimit', 'deviceBusy', 'notFree', 'notInGrant']);

const isForNow = (error: unknown): boolean => FOR_NOW.has(codeOf(error));

/** What a request may end with that was under way while its lease was reset, closed or taken away. */
const DISTURBED: ReadonlySet<string> = new Set([
  'reset',
  'revoked',
  'closed',
  'connectionClosed',
  'staleGeneration',
  'leaseNotActive',
  'unknownLease',
  'unknownRegion',
  'regionBusy',
  'noHandover',
  'noLease',
  'aborted',
  'unknownQueue',
]);

const codeOf = (error: unknown): string => (error instanceof sdk.RingwardenError ? error.code : '');

/** A lease while it lasts. */
interface Tenure {
  readonly client: Client;
  readonly device: Device;
}

export interface TenantSetup {
  readonly seed: number;
  readonly lanes: number;
  readonly blockBytes: number;
  /** Milliseconds at most between one disturbance of its own and the next. */
  readonly calm: number;
}

export class RandomTenant {
  readonly name: string;
  /** Requests that were answered, for good or not. */
  requests = 0;
  /** Resets, closes and takings away that it went through. */
  readonly upsets = { reset: 0, reopened: 0, revoked: 0 };
  /** Of each kind of request, how many. */
  readonly kinds = new Map<string, number>();
  /** Of each code, how many requests ended with it. */
  readonly failures = new Map<string, number>();
  readonly transports = new Set<string>();
  readonly mismatches: string[] = [];
  readonly #server: Server;
  readonly #setup: TenantSetup;
  readonly #random: Random;
  readonly #lanes: { readonly model: BlockModel; readonly random: Random }[];
  #tenure: Promise<Tenure>;
  /** The one that was opened last. */
  #latest: Tenure | undefined;
  /** Disturbances that are under way, and how many began or ended. */
  #disturbing = 0;
  #disturbances = 0;

  constructor(server: Server, name: string, setup: TenantSetup) {
    const { seed, lanes, blockBytes } = setup;
    this.#setup = setup;
    this.name = name;
    this.#server = server;
    this.#random = new Random(seed);
    this.#lanes = Array.from({ length: lanes }, (_, lane) => ({
      model: new BlockModel(seed, lane * LANE_BLOCKS, LANE_BLOCKS, blockBytes),
      random: new Random(seed + 1_000 * (lane + 1)),
    }));
    this.#tenure = this.#open();
  }

  /** Works until it had `requests`. */
  async run(requests: number): Promise<void> {
    const working = Promise.all(this.#lanes.map((lane) => this.#work(lane.model, lane.random, requests)));
    let isOver = false;
    void working.finally(() => (isOver = true)).catch(() => undefined);
    while (!isOver) {
      await sleep(5 + this.#random.below(this.#setup.calm));
      if (!isOver) await this.#upset();
    }
    await working;
  }

  /** A last look at every block, over a lease of its own, when nobody disturbs anybody any more. */
  async verify(): Promise<void> {
    await (await this.#tenure).client.close();
    for (const { model } of this.#lanes) model.settle();
    const last = await this.#open();
    for (const { model } of this.#lanes) {
      const { first, blocks } = model;
      this.#wrong('at the end', model.check(0, blocks, await last.device.share().readBlocks(first, blocks)));
    }
    await last.client.close();
  }

  /** Runs what may end requests of this tenant, for example a reset of the controller. */
  async disturbed<T>(what: () => Promise<T>): Promise<T> {
    this.#disturbing++;
    this.#disturbances++;
    const result = await what();
    // What the session was told of it has arrived when it answers; one that ended has none.
    await this.#latest?.client.ping().catch(() => undefined);
    this.#disturbing--;
    this.#disturbances++;
    return result;
  }

  async #open(): Promise<Tenure> {
    return eventually(`${this.name} opens the device`, async () => {
      const client = await this.#server.connect(this.name);
      try {
        const transport = this.#random.once(2) ? 'socket' : 'shm';
        const queues = this.#random.once(2) ? 'own' : 'shared';
        const device = await client.openDevice('nvme0', { transport, queues, queueEntries: this.#random.pick([8, 32, 256]) });
        this.transports.add(`${device.transport} ${device.queues}`);
        this.#latest = { client, device };
        return this.#latest;
      } catch (error) {
        await client.close();
        if (!isForNow(error) && !DISTURBED.has(codeOf(error))) throw error;
        return undefined;
      }
    });
  }

  /** Resets the lease, or ends it and opens another; one that was taken away is opened again in any case. */
  async #upset(): Promise<void> {
    const tenure = await this.#tenure;
    if (tenure.device.active && this.#random.once(2)) {
      this.upsets.reset++;
      await this.disturbed(() => tenure.device.reset().catch((error: unknown) => this.#excuse(error, 'reset', true)));
      return;
    }
    if (!tenure.device.active) this.upsets.revoked++;
    else if (!this.#random.once(4)) return;
    else this.upsets.reopened++;
    await this.disturbed(() => {
      this.#tenure = this.#reopen(tenure);
      return this.#tenure;
    });
  }

  async #reopen({ client, device }: Tenure): Promise<Tenure> {
    if (this.#random.once(2)) await device.close().catch((error: unknown) => this.#excuse(error, 'close', true));
    await client.close();
    await eventually('the session is over', async () => {
      const sessions = await this.#server.admin<{ tenant: string }[]>('/sessions');
      return sessions.some(({ tenant }) => tenant === this.name) ? undefined : true;
    });
    for (const { model } of this.#lanes) model.settle();
    return this.#open();
  }

  async #work(model: BlockModel, random: Random, requests: number): Promise<void> {
    let memory: { tenure: Tenure; region: Region; map: Uint8Array | undefined } | undefined;
    while (this.requests < requests && this.mismatches.length === 0) {
      const tenure = await this.#tenure;
      if (!tenure.device.active) {
        await sleep(1);
        continue;
      }
      const isDisturbed = this.#disturbing > 0;
      const seen = this.#disturbances;
      const count = 1 + random.below(MOST_BLOCKS);
      const at = random.below(model.blocks - count + 1);
      const step = new Step(tenure.device, model, at, count, random);
      let kind = 'open';
      try {
        if (memory !== undefined && (memory.tenure !== tenure || random.once(64))) {
          kind = 'unmap';
          const { region } = memory;
          memory = undefined;
          await region.close();
        } else if (memory === undefined && random.once(16)) {
          kind = 'map';
          const region = await tenure.client.allocate(MOST_BLOCKS * tenure.device.share().blockBytes);
          memory = { tenure, region, map: undefined };
          if (tenure.device.transport === 'shm' && random.once(2)) memory.map = await region.map();
        } else {
          const ways = memory === undefined ? STEPS : ALL_STEPS;
          kind = random.pick(ways);
          const wrong = await step[kind as keyof Omit<Step, 'settle'>](memory?.region as Region, memory?.map);
          this.#wrong(kind, wrong);
        }
        this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
      } catch (error) {
        step.settle();
        // What a device may still do with it, it does without this lane.
        if (memory !== undefined) void memory.region.close().catch(() => undefined);
        memory = undefined;
        this.#excuse(error, kind, isDisturbed || this.#disturbances !== seen);
      }
      this.requests++;
    }
    await memory?.region.close().catch(() => undefined);
  }

  /** A failure is wrong when nothing disturbed the request, or when it is not one of those that a disturbance has. */
  #excuse(error: unknown, kind: string, isDisturbed: boolean): void {
    const code = codeOf(error);
    this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
    if (isDisturbed && DISTURBED.has(code)) return;
    if (kind === 'map' && isForNow(error)) return;
    this.#wrong(`${kind}${isDisturbed ? ' while disturbed' : ''}`, `${code}: ${error instanceof Error ? error.message : String(error)}`);
  }

  #wrong(kind: string, what: string): void {
    if (what !== '' && this.mismatches.length < 4) this.mismatches.push(`${this.name}, ${kind}: ${what}`);
  }
}

/** One request on blocks, and what the model knows afterwards. Each returns what was wrong with what came back, or nothing. */
class Step {
  readonly #device: Device;
  readonly #model: BlockModel;
  readonly #at: number;
  readonly #count: number;
  readonly #random: Random;
  /** What is being written, while it is not known what became of it. */
  #writing: number | undefined;

  constructor(device: Device, model: BlockModel, at: number, count: number, random: Random) {
    this.#device = device;
    this.#model = model;
    this.#at = at;
    this.#count = count;
    this.#random = random;
  }

  /** It failed. */
  settle(): void {
    if (this.#writing !== undefined) this.#model.mayHaveWritten(this.#at, this.#count, this.#writing, this.#device.queues === 'shared');
  }

  async read(): Promise<string> {
    return this.#check(await this.#share.readBlocks(this.#lba, this.#count));
  }

  write(): Promise<string> {
    const version = this.#model.next();
    const durable = this.#random.once(8);
    return this.#write(version, () => this.#share.writeBlocks(this.#lba, this.#model.content(this.#at, this.#count, version), { durable }));
  }

  zeroes(): Promise<string> {
    return this.#write(ZERO, () => this.#share.writeZeroBlocks(this.#lba, this.#count));
  }

  /** What is in the blocks afterwards is the device's choice: zeroes, or what was there. */
  async deallocate(): Promise<string> {
    this.#writing = ZERO;
    await this.#share.deallocateBlocks({ lba: this.#lba, blocks: this.#count });
    this.#model.mayHaveWritten(this.#at, this.#count, ZERO, false);
    return '';
  }

  async flush(): Promise<string> {
    await this.#share.flush();
    return '';
  }

  async compare(): Promise<string> {
    const certain = this.#model.certain(this.#at, this.#count);
    if (certain === undefined) return this.read();
    const isRight = this.#random.once(2);
    const data = isRight ? certain : this.#model.content(this.#at, this.#count, this.#model.next());
    const isEqual = await this.#share.compareBlocks(this.#lba, data);
    return isEqual === isRight ? '' : `a comparison said ${isEqual}`;
  }

  async readInto(region: Region, map: Uint8Array | undefined): Promise<string> {
    await this.#share.readInto(region, 0, this.#lba * this.#share.blockBytes, this.#bytes);
    return this.#check(map === undefined ? await region.read(0, this.#bytes) : map.subarray(0, this.#bytes));
  }

  writeFrom(region: Region, map: Uint8Array | undefined): Promise<string> {
    const version = this.#model.next();
    const content = this.#model.content(this.#at, this.#count, version);
    return this.#write(version, async () => {
      if (map === undefined) await region.write(0, content);
      else map.set(content);
      await this.#share.writeFrom(region, 0, this.#lba * this.#share.blockBytes, this.#bytes);
    });
  }

  async compareWith(region: Region, map: Uint8Array | undefined): Promise<string> {
    const certain = this.#model.certain(this.#at, this.#count);
    if (certain === undefined) return this.readInto(region, map);
    if (map === undefined) await region.write(0, certain);
    else map.set(certain);
    const isEqual = await this.#share.compareWith(region, 0, this.#lba * this.#share.blockBytes, this.#bytes);
    return isEqual ? '' : 'a comparison with what is there said that it differs';
  }

  get #share(): ReturnType<Device['share']> {
    return this.#device.share();
  }

  get #lba(): number {
    return this.#model.first + this.#at;
  }

  get #bytes(): number {
    return this.#count * this.#share.blockBytes;
  }

  #check(found: Uint8Array): string {
    return this.#model.check(this.#at, this.#count, found);
  }

  async #write(version: number, run: () => Promise<void>): Promise<string> {
    this.#writing = version;
    await run();
    this.#model.wrote(this.#at, this.#count, version);
    return '';
  }
}

/** Weighted by how often they are named. */
const STEPS = ['read', 'read', 'read', 'read', 'write', 'write', 'write', 'write', 'flush', 'compare', 'zeroes', 'deallocate'] as const;
const ALL_STEPS = [...STEPS, 'readInto', 'readInto', 'readInto', 'writeFrom', 'writeFrom', 'writeFrom', 'compareWith'] as const;
