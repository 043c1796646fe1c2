/** What the main thread asks of an engine thread, and what it is told: messages of a port, for the control plane only. */
import type {
  DeviceFacts,
  DeviceReport,
  EngineEvents,
  HardwareView,
  OpenLease,
  OpenedLease,
  OpenedQueue,
  Rates,
  RegionDma,
  RegionUse,
  ShareGrant,
  VectorState,
} from './api.js';
import type { ChannelMemory } from './channel.js';
import type { PciMethods } from './pci-api.js';
import type { RingFiles } from './shared-rings.js';
import type { SignalHandles } from './signals.js';

/** Entries of the hardware queue pair of its own behind a queue of `entries`: commands of the server's among them never take a client's place. */
export const pairEntries = (entries: number): number => entries * 2;

/** The engine's methods: what each takes and returns. */
export interface EngineMethods extends PciMethods {
  openLease(request: OpenLease, statistics: SharedArrayBuffer): OpenedLease;
  closeLease(lease: number): void;
  openQueue(lease: number, channel: number, memory: ChannelMemory, tagSeed: number): Omit<OpenedQueue, 'channel'>;
  closeQueue(lease: number, queue: number): void;
  shareQueue(lease: number, queue: number, files: RingFiles): void;
  hardwareView(lease: number, queue: number): HardwareView;
  resetLease(lease: number): number;
  bindVector(lease: number, vector: number, enable: boolean): void;
  /** `signal`: an id of the addon, the engine's to end once this has succeeded; 0: none any more. */
  bindVectorSignal(lease: number, vector: number, signal: number): void;
  vectorState(lease: number, vector: number): VectorState;
  replaceGrant(lease: number, shares: readonly ShareGrant[]): void;
  setTenant(tenant: number, weight: number, rates: Rates): void;
  attachRegion(domain: number, handle: number, fd: number, bytes: number, owner: string, use: RegionUse, dma: RegionDma): void;
  holdRegion(domain: number, handle: number, held: boolean): void;
  detachRegion(domain: number, handle: number, force: boolean): void;
  regionInFlight(domain: number, handle: number): number;
  report(): DeviceReport;
  /** `progress` stays on the engine's side of the port, where it posts what it is told. */
  wipe(namespace: number, firstBlock: number, blocks: number, progress?: (done: number) => void): void;
  logPage(page: 'smart' | 'error' | 'firmware'): Uint8Array;
  resetController(reason: string): void;
  inspect(): unknown;
  close(milliseconds: number): void;
}
export type EngineMethod = keyof EngineMethods;

export interface ControlRequest {
  readonly id: number;
  readonly method: EngineMethod;
  readonly args: readonly unknown[];
}

/** A failure that survives a structured clone. */
export interface Failure {
  readonly kind: 'refusal' | 'hardware' | 'error';
  readonly code: string;
  readonly field: string;
  readonly value: string;
  readonly message: string;
}

export type EngineMessage =
  | { readonly kind: 'started'; readonly facts: DeviceFacts }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refused'; readonly id: number; readonly failure: Failure }
  | { readonly kind: 'progress'; readonly id: number; readonly done: number }
  | { readonly kind: 'event'; readonly event: keyof EngineEvents; readonly args: readonly unknown[] };

export interface EngineSettings {
  readonly name: string;
  /** Added to every lease handle, so that handles differ between the devices of a server. */
  readonly leaseBase: number;
  /** The handle that was given last by an earlier thread of this engine, without the base: no lease is taken for one that ended with it. */
  readonly lastLease?: number;
  /** Vectors to use at most (R11). */
  readonly vectorsCeiling: number;
  readonly queuePairsCeiling: number;
  /** Milliseconds after which a command is taken to be stuck. */
  readonly commandTimeout: number;
  /** Microseconds that the engine polls on after the last work before it sleeps. */
  readonly spinMicroseconds: number;
}

/** What the engine thread starts with. */
export interface EngineStart {
  readonly settings: EngineSettings;
  readonly backing: { readonly kind: string; readonly handle: unknown };
  readonly signals: SignalHandles;
  /** Rings of channel numbers: with new requests, with new completions. */
  readonly activations: SharedArrayBuffer;
  readonly ready: SharedArrayBuffer;
}

/** Lease handles that one device gives out before it uses them again; each device of a server has its own range, of the 32 bits that a handle has. */
export const LEASES_OF_A_DEVICE = 2 ** 24;
export const MAX_DEVICES = 2 ** 8;

/** Channels that an engine serves at most. */
export const MAX_CHANNELS = 4_096;

/** How the engine tells the main thread something. */
export interface EnginePost {
  event<Name extends keyof EngineEvents>(name: Name, args: EngineEvents[Name]): void;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, details: Readonly<Record<string, string | number | boolean>>): void;
}
