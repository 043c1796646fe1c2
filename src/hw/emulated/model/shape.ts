/** What a controller is like, after defaults and checks: plain data that crosses threads. */

export interface NamespaceShape {
  readonly blockBytes: 512 | 4096;
  readonly blocks: number;
  /** Index of the image file, or -1 for memory; and where the namespace starts in it, bytes. */
  readonly image: number;
  readonly imageOffset: number;
}

export interface ControllerShape {
  readonly serial: string;
  /** Namespace 1 and following. */
  readonly namespaces: readonly NamespaceShape[];
  /** Maximum data transfer size, as a power of two of 4096 bytes; 0: no limit. */
  readonly mdts: number;
  /** I/O queue pairs. */
  readonly queuePairs: number;
  /** CAP.MQES, zero-based. */
  readonly mqes: number;
  /** CAP.DSTRD. */
  readonly doorbellStride: number;
  /** Entries of the MSI-X table; 0: no MSI-X. */
  readonly vectors: number;
  /** CAP.TO, units of 500 ms. */
  readonly timeoutUnits: number;
  /** What the expansion ROM holds; undefined: there is none. */
  readonly rom: Uint8Array | undefined;
}
