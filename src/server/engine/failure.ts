/** Errors on their way between threads. */
import { HardwareError, type HardwareErrorCode } from '../../hw/task.js';
import type { CodeName } from '../../protocol/index.js';
import { Refusal } from './api.js';
import type { Failure } from './control.js';

export function failureOf(error: unknown): Failure {
  if (error instanceof Refusal) return { kind: 'refusal', code: error.code, field: error.field, value: error.value, message: error.message };
  if (error instanceof HardwareError) return { kind: 'hardware', code: error.code, field: '', value: '', message: error.message };
  return { kind: 'error', code: '', field: '', value: '', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

export function errorOf(failure: Failure): Error {
  if (failure.kind === 'refusal') return new Refusal(failure.code as CodeName, failure.field, failure.value);
  if (failure.kind === 'hardware') return new HardwareError(failure.code as HardwareErrorCode, failure.message);
  return new Error(failure.message);
}
