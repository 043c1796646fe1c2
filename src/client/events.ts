/** What happens without being asked for, as async iteration with a bounded memory. */
import type { EventMessage, OperationName } from '../protocol/index.js';
import { malformed } from './errors.js';
import { type Fields, oneOf, text, whole } from './shapes.js';

const U32 = 0xffff_ffff;

/** A request of this lease ended. Told only when asked for with `completions: true`. */
export interface CompletionEvent {
  type: 'completion';
  operation: OperationName;
  /** Index of the share. */
  share: number;
  /** First block, and number of blocks; 0 where the operation has none. */
  lba: number;
  blocks: number;
  /** Number of the code; 0 is success. */
  code: number;
}

/** Events that were thrown away because nobody took them in time. */
export interface DroppedEvent {
  type: 'dropped';
  count: number;
}

/** Events of one lease. */
export type DeviceEvent =
  | CompletionEvent
  | DroppedEvent
  /** A vector fired `count` times. Told for bound vectors. */
  | { type: 'interrupt'; vector: number; count: number }
  /** A namespace below this share changed. Open the device again to see its new size. */
  | { type: 'namespaceChanged'; share: number }
  /** Requests in flight were ended with `reset`; new ones are sent with the new generation. */
  | { type: 'reset'; generation: number; reason: string }
  /** The lease is gone: the last event of the device. */
  | { type: 'revoked'; reason: string }
  | { type: 'deviceLost'; reason: string }
  | { type: 'deviceRestored'; generation: number }
  /** The server ends in so many milliseconds. */
  | { type: 'draining'; milliseconds: number };

/** Events of the connection. */
export type ClientEvent = DroppedEvent | { type: 'holderGone'; device: string } | { type: 'draining'; milliseconds: number };

const NAMES = ['interrupt', 'namespaceChanged', 'reset', 'revoked', 'deviceLost', 'deviceRestored', 'holderGone', 'draining'] as const;

/** Reads an event of the server. Throws a ConnectionError for what is not one. */
export function readEvent(fields: Fields): EventMessage {
  const event = oneOf(fields, 'event', NAMES);
  const type = 'event';
  switch (event) {
    case 'interrupt':
      return { type, event, lease: whole(fields, 'lease', U32), vector: whole(fields, 'vector', U32), count: whole(fields, 'count') };
    case 'namespaceChanged':
      return { type, event, lease: whole(fields, 'lease', U32), share: whole(fields, 'share', U32) };
    case 'reset':
      return { type, event, lease: whole(fields, 'lease', U32), generation: whole(fields, 'generation', U32), reason: text(fields, 'reason') };
    case 'revoked':
      return { type, event, lease: whole(fields, 'lease', U32), reason: text(fields, 'reason') };
    case 'deviceLost':
      return { type, event, device: text(fields, 'device'), lease: whole(fields, 'lease', U32), reason: text(fields, 'reason') };
    case 'deviceRestored':
      return { type, event, device: text(fields, 'device'), lease: whole(fields, 'lease', U32), generation: whole(fields, 'generation', U32) };
    case 'holderGone':
      return { type, event, device: text(fields, 'device') };
    case 'draining':
      return { type, event, milliseconds: whole(fields, 'milliseconds') };
    default:
      throw malformed(`the event ${String(event)}`);
  }
}
