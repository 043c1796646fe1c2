/** What crosses from the main thread to the engine thread, and from there to the device thread. */
import type { EmulatedShape } from './options.js';

/** Survives a structured clone. Descriptors belong to whoever prepared the backing. */
export interface EmulatedHandle {
  readonly shape: EmulatedShape;
  /** Of each namespace: its UUID (`uuid.ts`). */
  readonly uuids: readonly Uint8Array[];
  /** See `shared.ts`. */
  readonly shared: SharedArrayBuffer;
  /** Image files, in the order of their indices. */
  readonly images: readonly number[];
  /** Event descriptor that wakes the engine. */
  readonly event: number;
  /** Waker of the durability service (`shm().wake`); -1 without images. */
  readonly waker: number;
}
