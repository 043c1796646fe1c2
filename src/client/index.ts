/** The SDK: `import { connect } from 'ringwarden/client'`. In socket mode it is JavaScript alone. See `docs/sdk.md`. */
export type {
  DeviceInfo,
  LeaseMode,
  OperationName,
  PciRegionInfo,
  QueueInfo,
  QueueKind,
  SessionLimits,
  ShareInfo,
  VectorInfo,
} from '../protocol/index.js';
export type { Batch, BatchEntry } from './batch.js';
export type { RingIndices } from './carrier.js';
export type { BlockDevice, ReadOptions, WriteOptions } from './block-device.js';
export { type Client, connect, type ConnectOptions, type StateOptions } from './client.js';
export type { Device, DeviceEventOptions } from './device.js';
export { ConnectionError, DeviceError, type ErrorCode, type LocalCode, RefusedError, RingwardenError } from './errors.js';
export type { EventStream, StreamOptions } from './event-stream.js';
export type { ClientEvent, CompletionEvent, DeviceEvent, DroppedEvent } from './events.js';
export type { CompletionEntry, HardwareRing, RingSnapshot, SubmissionEntry } from './hardware-ring.js';
export type { OpenOptions } from './open-device.js';
export type { PollMode } from './reaper.js';
export type { AccessWidth, PciFunction } from './pci.js';
export type { BlockRange, ByteRange } from './plan.js';
export type { Region, SignalOption } from './region.js';
export type { Transport } from './session.js';
export type { EventfdOptions } from './vectors.js';
export { defaultSocketPath, socketCandidates } from './socket-path.js';
