/** A namespace: blocks on a medium, and its identifiers. */
import { createHash } from 'node:crypto';
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
  /** UUID (RFC 9562, version 8: hash of serial number and namespace id), 16 bytes. */
  readonly uuid: Uint8Array;
  /** Error Recovery feature, Dword 11. */
  errorRecovery = 0;

  constructor(id: number, shape: NamespaceShape, media: Media, serial: string) {
    this.id = id;
    this.blockBytes = shape.blockBytes;
    this.blockShift = Math.log2(shape.blockBytes);
    this.blocks = shape.blocks;
    this.media = media;
    this.uuid = new Uint8Array(createHash('sha256').update(`ringwarden ${serial} ${id}`).digest().subarray(0, 16));
    this.uuid[6] = (this.uuid[6] & 0x0f) | 0x80;
    this.uuid[8] = (this.uuid[8] & 0x3f) | 0x80;
  }
}
