/**
 * A machine without an IOMMU, with a program that has raw access to the controller, and somebody else: memory that belongs to others, blocks of
 * others on the same controller, and a queue pair with which another program works. None of it goes through the server.
 */
import { randomInt } from 'node:crypto';
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Backing, PreparedBacking } from '../../../hw/backing.js';
import { type BackingHandle, type BackingOptions, openBacking, prepareBacking } from '../../../hw/backings.js';
import type { QueuePair } from '../../../hw/nvme/index.js';
import { CSTS, NvmOpcode, getField } from '../../../hw/nvme/spec/index.js';
import { type Canary, Secret, changes } from '../canary.js';
import type { RawOutcome } from '../types.js';
import { RawController, blockCommand } from './controller.js';
import { PAGE_BYTES, RawMemory } from './memory.js';

export type BackingKind = Exclude<BackingOptions['kind'], 'pci'>;

export const BLOCK_BYTES = 512;
/** Namespace 1: the attacker's partition, then the victim's. Namespace 2 is the victim's alone. */
export const VICTIM_LBA = 2_048;
const SHARED_NAMESPACE_BYTES = 2 * VICTIM_LBA * BLOCK_BYTES;
const OTHER_NAMESPACE_BYTES = 128 * BLOCK_BYTES;
/** Blocks of the victim that are watched, from the start of its partition. */
const WATCHED_BLOCKS = 128;
/** A block of the victim that holds one byte over and over: {@link RawWorld.hidden}. */
export const HIDDEN_LBA = VICTIM_LBA + WATCHED_BLOCKS;
const MDTS = 7;
const QUEUE_PAIRS = 4;
const VECTORS = 8;
/** The embedded model has a ROM, so that it can be decoded where it should not be. */
const ROM_BYTES = 2_048;

/** Pages of the attacker's memory; the last ones are the neighbour's, right behind them on the bus. */
const OWN_PAGES = 256;
const NEIGHBOUR_PAGES = 8;
/** Pages of the victim's memory that are watched; behind them are a PRP list and the rings of its queue. */
const VICTIM_PAGES = 8;
const VICTIM_LIST_PAGES = 1;
const VICTIM_RING_PAGES = 2;
/** How long the victim waits for an answer before it has to call its queue dead, milliseconds. */
const STALL_MS = 500;

interface Restorable extends Canary {
  restore(): void;
}

export class RawWorld {
  readonly controller: RawController;
  /** The attacker's memory. */
  readonly own: RawMemory;
  /** Somebody else's. */
  readonly victim: RawMemory;
  /** Offset in `own` of the pages that belong to the neighbour. */
  readonly neighbour = (OWN_PAGES - NEIGHBOUR_PAGES) * PAGE_BYTES;
  /** Offset in `victim` of a PRP list of the victim, with the addresses of all of its pages. */
  readonly victimList = VICTIM_PAGES * PAGE_BYTES;
  readonly secret = new Secret('victim');
  /** What is in the block {@link HIDDEN_LBA}. */
  readonly hidden = randomInt(128, 256);
  #pair: QueuePair | undefined;
  #victimPair: QueuePair | undefined;
  /** Offsets in `own`. */
  #ownPage: number | undefined;
  #listPage: number | undefined;
  readonly #prepared: PreparedBacking<BackingHandle>;
  readonly #memory: readonly Restorable[];
  readonly #blocks: readonly Restorable[];
  readonly #ownBlocks: Restorable;

  private constructor(
    prepared: PreparedBacking<BackingHandle>,
    controller: RawController,
    own: RawMemory,
    victim: RawMemory,
    images: readonly string[],
  ) {
    this.#prepared = prepared;
    this.controller = controller;
    this.own = own;
    this.victim = victim;
    this.#memory = [
      memoryCanary("the victim's memory", victim.bytes.subarray(0, VICTIM_PAGES * PAGE_BYTES), this.secret, 1),
      memoryCanary("the neighbour's memory", own.bytes.subarray(this.neighbour), this.secret, 2),
    ];
    this.#blocks = [
      imageCanary("the victim's partition", images[0], VICTIM_LBA * BLOCK_BYTES, this.secret.fill(WATCHED_BLOCKS * BLOCK_BYTES, 3)),
      imageCanary("the victim's hidden block", images[0], HIDDEN_LBA * BLOCK_BYTES, Buffer.alloc(BLOCK_BYTES, this.hidden)),
      imageCanary("the victim's namespace", images[1], 0, this.secret.fill(OTHER_NAMESPACE_BYTES, 4)),
    ];
    this.#ownBlocks = imageCanary('own blocks', images[0], 0, Buffer.alloc(VICTIM_LBA * BLOCK_BYTES));
    for (let page = 0; page < VICTIM_PAGES; page++) {
      victim.bytes.writeBigUInt64LE(BigInt(victim.address(page * PAGE_BYTES)), this.victimList + page * 8);
    }
    this.restore();
  }

  /** A fresh machine; image files go into `folder`. @throws HardwareError */
  static async start(kind: BackingKind, folder: string, number: number): Promise<RawWorld> {
    const images = [join(folder, `raw${number}-1.img`), join(folder, `raw${number}-2.img`)];
    writeFileSync(images[0], Buffer.alloc(SHARED_NAMESPACE_BYTES));
    writeFileSync(images[1], Buffer.alloc(OTHER_NAMESPACE_BYTES));
    const prepared = await prepareBacking(optionsOf(kind, images));
    let backing: Backing | undefined;
    const opened: RawMemory[] = [];
    try {
      backing = await openBacking(prepared.handle);
      const own = await RawController.run(backing, RawMemory.attach(backing, OWN_PAGES, 'attacker'));
      opened.push(own);
      const victim = await RawController.run(backing, RawMemory.attach(backing, VICTIM_PAGES + VICTIM_LIST_PAGES + VICTIM_RING_PAGES, 'victim'));
      opened.push(victim);
      const controller = new RawController(backing, own);
      await controller.run(backing.claim());
      await controller.open();
      victim.take(VICTIM_PAGES + VICTIM_LIST_PAGES);
      const world = new RawWorld(prepared, controller, own, victim, images);
      world.#pair = await controller.createPair(1, own);
      world.#victimPair = await controller.createPair(2, victim);
      return world;
    } catch (error) {
      backing?.dispose();
      for (const memory of opened) memory.close();
      await prepared.dispose();
      throw error;
    }
  }

  get backing(): Backing {
    return this.controller.backing;
  }

  /** The attacker's queue pair. */
  get pair(): QueuePair {
    if (this.#pair === undefined) throw new Error('the world was not started');
    return this.#pair;
  }

  /** The queue pair of the other program. */
  get victimPair(): QueuePair {
    if (this.#victimPair === undefined) throw new Error('the world was not started');
    return this.#victimPair;
  }

  /** A page of the attacker's own, the same one each time, filled with `fill`. */
  ownPage(fill = 0): { offset: number; address: number; bytes: Buffer } {
    this.#ownPage ??= this.own.take(1);
    const offset = this.#ownPage;
    return { offset, address: this.own.address(offset), bytes: this.own.bytes.subarray(offset, offset + PAGE_BYTES).fill(fill) };
  }

  /** Another page of its own, zeroed, for a PRP list. */
  listPage(): { address: number; entries: BigUint64Array } {
    this.#listPage ??= this.own.take(1);
    const page = this.own.bytes.subarray(this.#listPage, this.#listPage + PAGE_BYTES).fill(0);
    return { address: this.own.address(this.#listPage), entries: new BigUint64Array(page.buffer, page.byteOffset, PAGE_BYTES / 8) };
  }

  /** Reads, writes, ... on the attacker's queue. */
  io(opcode: number, lba: number, blocks: number, prp1: number, prp2 = 0, namespace = 1): Promise<number | undefined> {
    return this.controller.execute(this.pair, blockCommand(opcode, namespace, lba, blocks, prp1, prp2));
  }

  /** What is on the attacker's own blocks, read through the controller. */
  async readOwnBlocks(lba: number, blocks: number): Promise<Buffer> {
    const page = this.ownPage();
    await this.io(NvmOpcode.read, lba, blocks, page.address);
    return Buffer.from(page.bytes.subarray(0, blocks * BLOCK_BYTES));
  }

  /** Whether anything of others changed, byte for byte. */
  async corrupted(): Promise<RawOutcome> {
    return (await changes([...this.#memory, ...this.#blocks])).length > 0 ? 'corrupted' : 'none';
  }

  /** Whether `bytes`, which the attacker has, hold anything of others. */
  leaked(bytes: Uint8Array): RawOutcome {
    return this.secret.isIn(bytes) ? 'leaked' : 'none';
  }

  /** Whether the other program's commands no longer complete. */
  async stalled(): Promise<RawOutcome> {
    return (await this.controller.answers(this.victimPair, STALL_MS)) ? 'none' : 'stalled';
  }

  /** Whether the controller gave up. */
  async crashed(): Promise<RawOutcome> {
    return getField(CSTS.fields.cfs, await this.controller.status()) === 1 ? 'crashed' : 'none';
  }

  /** Whether both queue pairs work: the world can be used for another attack. */
  async healthy(): Promise<boolean> {
    return (await this.controller.answers(this.pair, STALL_MS)) && (await this.controller.answers(this.victimPair, STALL_MS));
  }

  /** Puts what belongs to others back to what it was. Nothing is in flight. */
  restore(): void {
    this.restoreMemory();
    for (const canary of this.#blocks) canary.restore();
  }

  /** Zeroes over the attacker's own blocks: what one attack got hold of is not found by another. Nothing is in flight. */
  wipeOwnBlocks(): void {
    this.#ownBlocks.restore();
  }

  /** The memory alone, which takes no system call. */
  restoreMemory(): void {
    for (const canary of this.#memory) canary.restore();
  }

  async dispose(): Promise<void> {
    this.backing.dispose();
    this.own.close();
    this.victim.close();
    await this.#prepared.dispose();
  }
}

function optionsOf(kind: BackingKind, images: readonly string[]): BackingOptions {
  const bytes = [SHARED_NAMESPACE_BYTES, OTHER_NAMESPACE_BYTES];
  if (kind === 'emulated') {
    const namespaces = images.map((image, index) => ({ image, bytes: bytes[index], blockBytes: BLOCK_BYTES }) as const);
    return { kind, namespaces, mdts: MDTS, queuePairs: QUEUE_PAIRS, vectors: VECTORS, rom: new Uint8Array(ROM_BYTES) };
  }
  const drives = images.map((file, index) => ({ file, bytes: bytes[index], blockBytes: BLOCK_BYTES }) as const);
  return { kind, drives, mdts: MDTS, queuePairs: QUEUE_PAIRS, vectors: VECTORS, serial: 'DEMO' };
}

function memoryCanary(name: string, bytes: Buffer, secret: Secret, salt: number): Restorable {
  const expected = secret.fill(bytes.length, salt);
  return { name, expected, read: () => bytes, restore: () => void expected.copy(bytes) };
}

/** Blocks, looked at in the image file itself. */
function imageCanary(name: string, image: string, position: number, expected: Buffer): Restorable {
  const access = <T>(flags: 'r' | 'r+', work: (fd: number) => T): T => {
    const fd = openSync(image, flags);
    try {
      return work(fd);
    } finally {
      closeSync(fd);
    }
  };
  return {
    name,
    expected,
    read: () =>
      access('r', (fd) => {
        const found = Buffer.alloc(expected.length);
        readSync(fd, found, 0, found.length, position);
        return found;
      }),
    restore: () => void access('r+', (fd) => writeSync(fd, expected, 0, expected.length, position)),
  };
}
