/** The server with two tenants at work on one controller, and an attacker who is a third tenant of it. */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../../server/text.js';
import { type Canary, Secret, changes, takeChanges } from '../canary.js';
import type { BackingKind } from '../raw/world.js';
import { BUFFER_BYTES, WORKERS_PER_TENANT, Workload } from '../workload.js';
import { within } from '../within.js';
import { Attacker } from './attacker.js';
import { BORDER_BYTES, Disk } from './disk.js';
import { Foothold, type FootholdOptions } from './foothold.js';
import { DemoServer } from './server.js';
import { SharedMemory } from './shared-memory.js';
import { Victim } from './victim.js';

/** How long each tenant may take to get one more request answered, milliseconds. */
const PROGRESS_MS = 5_000;
/** How long the server may take to let go of the attacker's earlier sessions. */
const ADMISSION_MS = 5_000;

export class MediatedWorld {
  readonly server: DemoServer;
  readonly alice: Victim;
  readonly bob: Victim;
  readonly workload: Workload;
  readonly #disk: Disk;
  readonly #secrets: readonly Secret[];
  readonly #attackers: Attacker[] = [];
  readonly #footholds: Foothold[] = [];
  /** Memory that the attacker has mapped, and descriptors that it holds. */
  readonly memory = new SharedMemory();
  readonly #leaks: string[] = [];
  #isDown = false;

  private constructor(server: DemoServer, disk: Disk, secrets: readonly Secret[], alice: Victim, bob: Victim, workload: Workload) {
    this.server = server;
    this.alice = alice;
    this.bob = bob;
    this.workload = workload;
    this.#disk = disk;
    this.#secrets = secrets;
  }

  /** Starts the server in `folder`, and the workload. @throws CliError */
  static async start(backing: BackingKind, folder: string, onServer: (server: DemoServer) => void): Promise<MediatedWorld> {
    const secrets = { alice: new Secret('alice'), bob: new Secret('bob'), nobody: new Secret('nobody') };
    const disk = new Disk(folder, secrets);
    const server = await DemoServer.start(backing, folder, disk);
    onServer(server);
    try {
      const [alice, bob] = await Promise.all([Victim.start('alice', server, secrets.alice), Victim.start('bob', server, secrets.bob)]);
      const bytes = alice.share.size - BORDER_BYTES;
      const workload = new Workload([
        { name: 'alice', share: alice.share, zone: { first: 0, bytes }, buffers: await buffersOf(alice), secret: secrets.alice },
        { name: 'bob', share: bob.share, zone: { first: BORDER_BYTES, bytes }, buffers: await buffersOf(bob), secret: secrets.bob },
      ]);
      workload.start();
      return new MediatedWorld(server, disk, Object.values(secrets), alice, bob, workload);
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  get victims(): readonly Victim[] {
    return [this.alice, this.bob];
  }

  /** A connection, and nothing said on it. */
  async connect(): Promise<Attacker> {
    const attacker = await Attacker.connect({ socket: this.server.socket, onBytes: (bytes) => this.look('a message', bytes) });
    this.#attackers.push(attacker);
    return attacker;
  }

  /** A session of the attacker's own tenant. */
  async session(): Promise<Attacker> {
    const deadline = performance.now() + ADMISSION_MS;
    for (;;) {
      const attacker = await this.connect();
      const { reply } = await attacker.hello('mallory', this.server.tokens.mallory);
      if (reply.outcome === 'harmless') return attacker;
      // Sessions of the attack before may still be on their way out, and count until they are.
      if (reply.code !== 'sessionLimit' || performance.now() > deadline) throw new Error(`the attacker was not let in: ${reply.code}`);
      await delay(5);
    }
  }

  /** A session with a lease, a queue and memory of its own. */
  async foothold(options?: FootholdOptions): Promise<Foothold> {
    const foothold = await Foothold.take(await this.session(), options);
    this.#footholds.push(foothold);
    return foothold;
  }

  /** Looks for others' secrets in what the attacker has. */
  look(what: string, bytes: Uint8Array): void {
    for (const secret of this.#secrets) if (secret.isIn(bytes)) this.#leaks.push(`${what} to the attacker holds bytes of ${secret.owner}`);
  }

  /** Whether sessions of the attacker that are still open get answers: what is called refused has not ended its session. */
  async sessionsGoOn(): Promise<boolean> {
    const open = this.#attackers.filter(({ isOpen }) => isOpen);
    const told = await Promise.all(open.map((attacker) => attacker.ask('ping')));
    return told.length > 0 && told.every(({ reply }) => reply.outcome !== 'faulted');
  }

  /** Ends every session of the attacker, after a look at what came into its memory. */
  async endAttack(): Promise<void> {
    this.memory.look((bytes) => this.look('mapped memory', bytes));
    for (const foothold of this.#footholds.splice(0)) await foothold.showMemory();
    const attackers = this.#attackers.splice(0);
    for (const attacker of attackers) attacker.terminate();
    await Promise.all(attackers.map(({ closed }) => closed));
    this.memory.end();
  }

  /**
   * Everything that the attacker may have done to anybody, in words: blocks and memory of others byte by byte, secrets in what it was sent or has on its
   * blocks, tenants that were told of something, requests that failed, a server that does not answer.
   */
  async harm(): Promise<string[]> {
    const stuck = await this.#progress();
    if (this.server.hasEnded) return [`the server ended: ${this.server.lastWords()}`];
    for (const blocks of this.#disk.attackersBlocks()) this.look('the share', blocks);
    const leaks = this.#leaks.splice(0);
    if (leaks.length > 0) this.#disk.wipeAttackersBlocks();
    const silent = (await Promise.all(this.victims.map((victim) => victim.ping()))).filter((problem) => problem !== '');
    this.#isDown = stuck.length > 0 || silent.length > 0;
    return [
      ...leaks,
      ...stuck,
      ...silent,
      ...(await takeChanges(this.#disk.canaries)),
      ...(silent.length > 0 ? [] : await takeChanges([...this.alice.canaries, ...this.bob.canaries])),
      ...this.victims.flatMap((victim) => victim.takeIncidents()),
      ...this.workload.takeProblems(),
    ];
  }

  /** The others can no longer work: there is nothing more to be shown. */
  get isDown(): boolean {
    return this.server.hasEnded || this.#isDown;
  }

  /** Ends the workload with its last check, the sessions, and the server. What is left is looked at once more. */
  async stop(): Promise<string[]> {
    await this.workload.stop();
    const found = await this.#borders();
    found.push(...this.workload.takeProblems(), ...this.victims.flatMap((victim) => victim.takeIncidents()));
    await Promise.all(this.victims.map((victim) => victim.close()));
    await this.server.stop();
    found.push(...(await changes(this.#disk.canaries)));
    return found;
  }

  /** Both tenants get on with their work. */
  async #progress(): Promise<string[]> {
    const before = this.workload.progress;
    const deadline = performance.now() + PROGRESS_MS;
    for (;;) {
      const now = this.workload.progress;
      const stuck = this.victims.filter((_, index) => now[index] === before[index]);
      if (stuck.length === 0 || this.server.hasEnded) return [];
      if (performance.now() > deadline) return stuck.map(({ name }) => `no request of ${name} was answered for ${PROGRESS_MS} ms`);
      await delay(1);
    }
  }

  /** The tenants' own view of the blocks next to the attacker's. */
  async #borders(): Promise<string[]> {
    const borderOf = (victim: Victim, offset: number): Canary => {
      const name = `the border of ${victim.name}, as ${victim.name} reads it`;
      return { name, expected: this.#disk.border(victim.name), read: () => within(name, victim.share.read(offset, BORDER_BYTES)) };
    };
    return changes([borderOf(this.alice, this.alice.share.size - BORDER_BYTES), borderOf(this.bob, 0)]);
  }
}

async function buffersOf(victim: Victim): Promise<Awaited<ReturnType<Victim['client']['allocate']>>[]> {
  try {
    return await Promise.all(Array.from({ length: WORKERS_PER_TENANT }, () => victim.client.allocate(BUFFER_BYTES)));
  } catch (error) {
    throw new Error(`${victim.name} gets no memory: ${messageOf(error)}`, { cause: error });
  }
}
