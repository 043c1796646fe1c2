/** How a session says no: what the client is told, and with which status its connection ends. */
import { CODES, type ErrorMessage } from '../../protocol/index.js';
import { Refusal } from '../engine/api.js';

/** Characters of an offending value that are repeated. */
const MAX_VALUE = 80;

/** WebSocket status codes (RFC 6455 7.4.1) of connections that the server ends. */
export const Status = {
  goingAway: 1001,
  protocolError: 1002,
  policyViolation: 1008,
  tooBig: 1009,
  internalError: 1011,
  tryAgainLater: 1013,
} as const;

/** The status with which a connection closes after a fault. */
export function closeStatus(refusal: Refusal): number {
  switch (refusal.code) {
    case 'messageTooLarge':
      return Status.tooBig;
    case 'malformed':
    case 'unknownMessage':
    case 'unknownField':
    case 'missingField':
    case 'wrongType':
    case 'replayedId':
      return Status.protocolError;
    case 'internal':
      return Status.internalError;
    case 'connectionLimit':
    case 'draining':
      return Status.tryAgainLater;
    default:
      return Status.policyViolation;
  }
}

/** The error message for a refusal. `submit` is the ordinal of the submit message that it is about. */
export function errorMessage(refusal: Refusal, id: number, submit?: number): ErrorMessage {
  const facts = CODES[refusal.code];
  const message: ErrorMessage = {
    type: 'error',
    id,
    code: facts.code,
    name: refusal.code,
    field: refusal.field === '' ? facts.field : refusal.field,
    value: refusal.value.slice(0, MAX_VALUE),
    message: facts.reason,
  };
  if (submit !== undefined) message.submit = submit;
  return message;
}

/** What a handler threw, as what the client is told. Undefined for what nobody expected. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof Refusal) return error;
  // The device failed in the middle of the work. What exactly happened is for the administrator.
  return error instanceof Error && error.name === 'HardwareError' ? new Refusal('deviceLost') : undefined;
}
