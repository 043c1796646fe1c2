import { HardwareError, type HardwareErrorCode } from '../task.js';

/** Why a PCI function cannot be had, and what to do about it. Nothing was changed, or it was changed back. */
export class FunctionError extends HardwareError {
  readonly remedy: string;
  constructor(code: HardwareErrorCode, message: string, remedy: string) {
    super(code, message);
    this.name = 'FunctionError';
    this.remedy = remedy;
  }
}
