/** A namespace: blocks on a medium, and its identifiers. */
import type { Media } from './media.js';
import type { NamespaceShape } from './shape.js';

export class Namespace {
  /** From 1. */
  readonly id: number;
  readonly blockBytes: number;
  /** log2 of `blockBytes`. */
  readonly blockShift: number;
  readonly blocks: number;
  readonly media: Media;
  /** UUID, 16 bytes. */
  readonly uuid: Uint8Array;
  /** Error Recovery feature, Dword 11. */
  errorRecovery = 0;

  constructor(id: number, shape: NamespaceShape, media: Media, uuid: Uint8Array) {
    this.id = id;
    this.blockBytes = shape.blockBytes;
    this.blockShift = Math.log2(shape.blockBytes);
    this.blocks = shape.blocks;
    this.media = media;
    this.uuid = uuid;
  }
}
