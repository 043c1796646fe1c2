/** Whose data lies where, remembered over restarts. */
export { LedgerError, Ledger, VOLATILE } from './ledger.js';
export type { Claim, Judged, Segment } from './segments.js';
