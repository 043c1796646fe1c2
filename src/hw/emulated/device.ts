/** The embedded machine on one thread: bus, function, media, and what a test or an operator can do to them. The same for both modes. */
import { Audit, type AuditRecord } from './audit.js';
import { Bus } from './bus.js';
import { type Fault, Faults } from './faults.js';
import { NvmeFunction } from './model/function.js';
import type { HealthReadings } from './model/health.js';
import { type Durability, ImageMedia } from './model/image-media.js';
import type { Media } from './model/media.js';
import { MemoryMedia } from './model/memory-media.js';
import { Namespace } from './model/namespace.js';
import type { NamespaceShape } from './model/shape.js';
import type { EmulatedShape } from './options.js';

/** Audit records in one answer, so that it fits into the shared area. */
const AUDIT_CHUNK = 128;

/** What can be asked of the machine beside PCI accesses; plain data. */
export type ControlRequest =
  | { readonly kind: 'event'; readonly type: number; readonly information: number }
  | { readonly kind: 'health'; readonly readings: Partial<HealthReadings> }
  | { readonly kind: 'namespaceChanged'; readonly namespace: number }
  | { readonly kind: 'faults'; readonly faults: readonly Fault[] }
  | { readonly kind: 'readyDelay'; /** Null: never ready. */ readonly milliseconds: number | null }
  | { readonly kind: 'remove'; readonly announced: boolean }
  | { readonly kind: 'audit'; readonly first: number }
  | { readonly kind: 'clearAudit' }
  | { readonly kind: 'inspect' };

export interface AuditChunk {
  readonly records: readonly AuditRecord[];
  /** Records that were lost because there were too many. */
  readonly lost: number;
}

/** State of the model for an operator: plain data. */
export interface EmulatedInspection {
  readonly gone: boolean;
  readonly cc: number;
  readonly csts: number;
  readonly submissionQueues: readonly { id: number; size: number; head: number; tail: number; completionQueue: number }[];
  readonly completionQueues: readonly { id: number; size: number; head: number; tail: number; vector: number; backlog: number }[];
  readonly namespaces: readonly { id: number; blocks: number; blockBytes: number; usedBytes: number }[];
  readonly errors: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

export interface MachineEnvironment {
  readonly shape: EmulatedShape;
  /** Of each namespace. */
  readonly uuids: readonly Uint8Array[];
  /** Descriptors of the image files. */
  readonly images: readonly number[];
  readonly durability: Durability;
  readonly clock: () => number;
  /** A message arrived in the interrupt window. */
  readonly interrupt: (data: number) => void;
  /** The function left the bus, and the slot tells so. */
  readonly removed: () => void;
}

interface Attached {
  readonly buffer: ArrayBuffer;
  readonly pageLow: Uint32Array;
  readonly pageHigh: Uint32Array;
}

export class Machine {
  readonly function: NvmeFunction;
  readonly #bus: Bus;
  readonly #audit: Audit | undefined;
  readonly #attached = new Map<number, Attached>();
  #announce = true;

  constructor(environment: MachineEnvironment) {
    const { shape, uuids, clock, interrupt, removed } = environment;
    this.#audit = shape.audit ? new Audit() : undefined;
    this.#bus = new Bus(interrupt, this.#audit);
    const namespaces = shape.namespaces.map((one, index) => new Namespace(index + 1, one, makeMedia(one, environment), uuids[index]));
    const leave = (): void => {
      if (this.#announce) removed();
    };
    this.function = new NvmeFunction({ shape, namespaces, bus: this.#bus, clock, removed: leave });
    this.#setFaults(shape.faults);
  }

  /** Puts memory on the bus: its pages are pointed at one part after the other by `addPages`. */
  attach(slot: number, buffer: ArrayBuffer, owner: string): void {
    const pages = buffer.byteLength / 4096;
    this.#attached.set(slot, { buffer, pageLow: new Uint32Array(pages), pageHigh: new Uint32Array(pages) });
    this.#bus.attach(slot, buffer, owner);
  }

  /** Bus addresses of the memory's pages from number `first` on. */
  addPages(slot: number, first: number, low: Uint32Array, high: Uint32Array): void {
    const attached = this.#attached.get(slot);
    if (attached === undefined) return;
    attached.pageLow.set(low, first);
    attached.pageHigh.set(high, first);
    this.#bus.point(slot, first, low, high);
  }

  /** Takes memory off the bus; nothing reaches it any more. Returns its buffer. */
  detach(slot: number): ArrayBuffer | undefined {
    const attached = this.#attached.get(slot);
    if (attached === undefined) return undefined;
    this.#attached.delete(slot);
    this.#bus.detach(slot, attached.pageLow, attached.pageHigh);
    return attached.buffer;
  }

  /** Takes all memory off the bus. Returns the buffers. */
  detachAll(): ArrayBuffer[] {
    return [...this.#attached.keys()].map((slot) => this.detach(slot)).filter((buffer) => buffer !== undefined);
  }

  /** Does what is to be done; returns how much that was. */
  step(now: number): number {
    return this.function.step(now);
  }

  /** Milliseconds until something happens by itself; Infinity if nothing will. */
  wait(now: number): number {
    return this.function.controller.wait(now);
  }

  /** The answer is plain data, or nothing. */
  control(request: ControlRequest): unknown {
    const { controller } = this.function;
    switch (request.kind) {
      case 'event':
        controller.events.add(request.type, request.information);
        return undefined;
      case 'health':
        controller.setHealth(request.readings);
        return undefined;
      case 'namespaceChanged':
        controller.namespaceChanged(request.namespace);
        return undefined;
      case 'faults':
        this.#setFaults(request.faults);
        return undefined;
      case 'readyDelay':
        controller.readyDelay = request.milliseconds ?? Infinity;
        return undefined;
      case 'remove':
        this.#announce = request.announced;
        this.function.remove();
        return undefined;
      case 'audit':
        return { records: this.#audit?.list(request.first, AUDIT_CHUNK) ?? [], lost: this.#audit?.lost ?? 0 } satisfies AuditChunk;
      case 'clearAudit':
        this.#audit?.clear();
        return undefined;
      case 'inspect':
        return this.#inspect();
    }
  }

  #setFaults(faults: readonly Fault[]): void {
    this.function.controller.engine.faults = faults.length === 0 ? undefined : new Faults(faults);
  }

  #inspect(): EmulatedInspection {
    const { controller, gone } = this.function;
    const { registers, queues, health, errors } = controller;
    return {
      gone,
      cc: registers.cc >>> 0,
      csts: registers.csts >>> 0,
      submissionQueues: present(queues.submission).map(({ id, size, head, tail, completion }) => ({
        id,
        size,
        head,
        tail,
        completionQueue: completion.id,
      })),
      completionQueues: present(queues.completion).map(({ id, size, head, tail, vector, backlog }) => ({
        id,
        size,
        head,
        tail,
        vector,
        backlog: backlog.length,
      })),
      namespaces: controller.namespaces.map(({ id, blocks, blockBytes, media }) => ({ id, blocks, blockBytes, usedBytes: media.usedBytes })),
      errors: errors.count,
      bytesRead: health.bytesRead,
      bytesWritten: health.bytesWritten,
    };
  }
}

function present<T>(queues: readonly (T | undefined)[]): T[] {
  return queues.filter((queue) => queue !== undefined);
}

function makeMedia(shape: NamespaceShape, { images, durability }: MachineEnvironment): Media {
  const bytes = shape.blocks * shape.blockBytes;
  if (shape.image < 0) return new MemoryMedia(bytes);
  return new ImageMedia({ fd: images[shape.image], image: shape.image, offset: shape.imageOffset, bytes }, durability);
}
