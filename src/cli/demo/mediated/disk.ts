/**
 * What is on the controller that the server shares: who has which blocks, and what lies around them. The attacker's window is between those of the
 * two tenants, so that one block too far in either direction is somebody's.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Canary, Secret } from '../canary.js';

const KIB = 1_024;
const MIB = 1_024 * KIB;

export const BLOCK_BYTES = 512;

/** Bytes at the border of a tenant's window that the tenant itself never touches after the start. */
export const BORDER_BYTES = 64 * KIB;

interface Window {
  readonly first: number;
  readonly bytes: number;
}

/** Namespace 1. What no window covers is nobody's. */
export const Windows = {
  alice: { first: 1 * MIB, bytes: 4 * MIB },
  /** The attacker's. */
  data: { first: 5 * MIB, bytes: 2 * MIB },
  bob: { first: 7 * MIB, bytes: 4 * MIB },
  /** The attacker may read it, and not write. */
  manual: { first: 11 * MIB, bytes: 512 * KIB },
  /** The attacker may write it, and not read. */
  dropbox: { first: 11.5 * MIB, bytes: 512 * KIB },
  /** The attacker may read and write it, and nothing else. */
  scratch: { first: 12 * MIB, bytes: 512 * KIB },
} as const satisfies Record<string, Window>;

/** The border of each tenant that touches the attacker's window, in bytes from the start of the namespace. */
const Borders = {
  alice: { first: Windows.data.first - BORDER_BYTES, bytes: BORDER_BYTES },
  bob: { first: Windows.bob.first, bytes: BORDER_BYTES },
} as const;

const SHARED_NAMESPACE_BYTES = 13 * MIB;
/** Namespace 2 is granted to nobody. */
const OTHER_NAMESPACE_BYTES = 256 * KIB;

export class Disk {
  readonly images: readonly { readonly path: string; readonly bytes: number }[];
  /** What must not change, whoever asks for what: looked at in the image files themselves. */
  readonly canaries: readonly Canary[];
  readonly #borders: Readonly<Record<keyof typeof Borders, Buffer>>;

  /** Makes the image files in `folder`. `secrets` of the tenants go to their borders, that of nobody to all other places. */
  constructor(folder: string, secrets: { readonly alice: Secret; readonly bob: Secret; readonly nobody: Secret }) {
    this.images = [
      { path: join(folder, 'nvme0-1.img'), bytes: SHARED_NAMESPACE_BYTES },
      { path: join(folder, 'nvme0-2.img'), bytes: OTHER_NAMESPACE_BYTES },
    ];
    const { alice, bob, nobody } = secrets;
    this.#borders = { alice: alice.fill(BORDER_BYTES, 2), bob: bob.fill(BORDER_BYTES, 3) };
    const end = Windows.scratch.first + Windows.scratch.bytes;
    const places: { name: string; image: number; window: Window; content: (bytes: number) => Buffer }[] = [
      { name: 'blocks before all shares', image: 0, window: { first: 0, bytes: Windows.alice.first }, content: (bytes) => nobody.fill(bytes, 1) },
      { name: "alice's blocks below the attacker's", image: 0, window: Borders.alice, content: () => this.#borders.alice },
      { name: "bob's blocks above the attacker's", image: 0, window: Borders.bob, content: () => this.#borders.bob },
      { name: 'blocks that may only be read', image: 0, window: Windows.manual, content: randomBytes },
      { name: 'blocks that may only be written', image: 0, window: Windows.dropbox, content: (bytes) => nobody.fill(bytes, 4) },
      {
        name: 'blocks behind all shares',
        image: 0,
        window: { first: end, bytes: SHARED_NAMESPACE_BYTES - end },
        content: (bytes) => nobody.fill(bytes, 5),
      },
      {
        name: 'a namespace that nobody may use',
        image: 1,
        window: { first: 0, bytes: OTHER_NAMESPACE_BYTES },
        content: (bytes) => nobody.fill(bytes, 6),
      },
    ];
    const contents = this.images.map(({ bytes }) => Buffer.alloc(bytes));
    this.canaries = places.map(({ name, image, window, content }) => {
      const expected = content(window.bytes);
      expected.copy(contents[image], window.first);
      return { name, expected, read: () => this.read(window, image) };
    });
    this.images.forEach(({ path }, index) => writeFileSync(path, contents[index]));
  }

  /** What the border of a tenant holds. */
  border(tenant: keyof typeof Borders): Buffer {
    return this.#borders[tenant];
  }

  /** The attacker's blocks, from the image file. */
  attackersBlocks(): Buffer[] {
    return [this.read(Windows.data), this.read(Windows.scratch)];
  }

  /** Zeroes over them, so that what one attack brought there is not found again. */
  wipeAttackersBlocks(): void {
    const fd = openSync(this.images[0].path, 'r+');
    try {
      for (const { first, bytes } of [Windows.data, Windows.scratch]) writeSync(fd, Buffer.alloc(bytes), 0, bytes, first);
    } finally {
      closeSync(fd);
    }
  }

  /** Bytes of a namespace, as any other program reads them from its image file. */
  read(window: Window, image = 0): Buffer {
    const fd = openSync(this.images[image].path, 'r');
    try {
      const bytes = Buffer.alloc(window.bytes);
      readSync(fd, bytes, 0, bytes.length, window.first);
      return bytes;
    } finally {
      closeSync(fd);
    }
  }
}
