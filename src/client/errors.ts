/** What the SDK rejects with. Every error says what was wrong, where, and what to do about it. */
import { CODES, type CodeFacts, type CodeName, codeName, fieldName } from '../protocol/index.js';
import { statusName, statusTypeName } from './nvme-status.js';

/** What the SDK itself finds, beside the codes of the protocol. Their number is 0. */
export type LocalCode =
  /** An offset, a length or a buffer that is not a whole number of blocks. */
  | 'misaligned'
  /** An argument that no request could be made of. */
  | 'invalidArgument'
  /** No connection could be made. */
  | 'connectFailed'
  /** The connection ended, or `close` was called. */
  | 'connectionClosed'
  /** The server sent something that this protocol does not have. */
  | 'malformedAnswer'
  /** The device, region or share was closed by this program. */
  | 'closed';

export type ErrorCode = CodeName | LocalCode;

/** What an error is about. */
export interface ErrorDetails {
  /** Number of the code on the wire; 0 for what the SDK found itself. */
  readonly number?: number;
  /** Path of the field that offended; empty where none did. */
  readonly field?: string;
  /** The value that offended, as text. */
  readonly value?: string;
  readonly severity?: 'refuse' | 'fault';
  readonly cause?: unknown;
}

/** Everything that the SDK rejects with, except the reason of an AbortSignal. */
export class RingwardenError extends Error {
  /** Name of the code: one of the protocol's (`docs/protocol.md`), or a {@link LocalCode}. */
  readonly code: ErrorCode;
  readonly number: number;
  readonly field: string;
  readonly value: string;
  /** `fault`: the contract was broken, and the session ended. */
  readonly severity: 'refuse' | 'fault';

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.number = details.number ?? 0;
    this.field = details.field ?? '';
    this.value = details.value ?? '';
    this.severity = details.severity ?? 'refuse';
  }
}

/** There is no connection (any more): nothing that was in flight will be answered, and its outcome is not known. */
export class ConnectionError extends RingwardenError {}

/** The server, or the SDK before it, said no. Nothing was done. */
export class RefusedError extends RingwardenError {}

/** The device reported an error. */
export class DeviceError extends RingwardenError {
  /** The status as the device reported it: type (bits 10:8), code (bits 7:0). */
  readonly status: number;
  readonly statusType: number;
  readonly statusCode: number;
  /** Name in the NVMe specification, for example `Unrecovered Read Error`. */
  readonly statusName: string;

  constructor(context: string, status: number) {
    const type = (status >>> 8) & 7;
    const name = statusName(status);
    super(
      'deviceError',
      `${context}: the device reported ${name} (${statusTypeName(type)}, SCT ${type}, SC 0x${(status & 0xff).toString(16).padStart(2, '0')})`,
      { number: CODES.deviceError.code, field: 'status', value: String(status) },
    );
    this.status = status;
    this.statusType = type;
    this.statusCode = status & 0xff;
    this.statusName = name;
  }
}

/** Codes from here on tell what became of a request that was admitted. */
const FIRST_OUTCOME = 200;

function sentence(context: string, facts: CodeFacts, field: string, value: string): string {
  const offender = field === '' ? '' : value === '' ? ` (${field})` : ` (${field} = ${value})`;
  const remedy = facts.remedy === '' ? '' : `; ${facts.remedy}`;
  return `${context}: ${facts.reason}${offender}${remedy}`;
}

/** The error for a code of the protocol. `context` says what was asked for. */
export function codeError(context: string, number: number, field: string, value: string, status = 0): RingwardenError {
  const name = codeName(number);
  if (name === undefined || name === 'ok') {
    return new ConnectionError(
      'malformedAnswer',
      `${context}: the server answered with the unknown code ${number}; use a server of the same version`,
      {
        value: String(number),
        severity: 'fault',
      },
    );
  }
  if (name === 'deviceError') return new DeviceError(context, status);
  const facts: CodeFacts = CODES[name];
  const Type = number < FIRST_OUTCOME ? RefusedError : RingwardenError;
  return new Type(name, sentence(context, facts, field, value), {
    number,
    field,
    value,
    severity: facts.severity === 'fault' ? 'fault' : 'refuse',
  });
}

/** A refusal that the SDK makes itself, with the code and the words that the server would use. */
export const refusal = (context: string, code: CodeName, value: string | number, field: string = CODES[code].field): RefusedError =>
  new RefusedError(code, sentence(context, CODES[code], field, String(value)), { number: CODES[code].code, field, value: String(value) });

export const misaligned = (context: string, field: string, value: number, multiple: number): RefusedError =>
  new RefusedError('misaligned', `${context}: ${field} = ${value} is not a multiple of ${multiple}; round it to whole blocks`, {
    field,
    value: String(value),
  });

export const invalidArgument = (context: string, field: string, value: unknown, expected: string): RefusedError =>
  new RefusedError('invalidArgument', `${context}: ${field} = ${String(value)}; expected ${expected}`, { field, value: String(value) });

export const malformed = (what: string): ConnectionError =>
  new ConnectionError('malformedAnswer', `the server sent ${what}, which is not part of this protocol; use a server of the same version`, {
    severity: 'fault',
  });

/**
 * An error as the function that awaits sees it: made when a message arrived, it knows nothing of who asked; from here on its stack leads there.
 * The end of a connection stays as it is, because it is one error for everybody.
 */
export function atCaller(error: unknown): unknown {
  if (error instanceof RingwardenError && !(error instanceof ConnectionError)) Error.captureStackTrace(error, atCaller);
  return error;
}

/** Path of a field number of a completion. */
export const completionField = fieldName;
