/**
 * Status codes (Base Specification 1.4, 4.6.1; 2.0, 3.3.3.2.1).
 *
 * A status is one number of 11 bits, `type << 8 | code`, as it stands in bits 27:17 of completion Dword 3. Zero is success.
 */

/** Status code types (SCT). @spec */
export const StatusType = { generic: 0, commandSpecific: 1, media: 2, path: 3, vendor: 7 } as const;

export const Status = {
  success: 0x000,
  invalidOpcode: 0x001,
  invalidField: 0x002,
  commandIdConflict: 0x003,
  dataTransferError: 0x004,
  abortedPowerLoss: 0x005,
  internalError: 0x006,
  abortRequested: 0x007,
  abortedQueueDeleted: 0x008,
  abortedFailedFused: 0x009,
  abortedMissingFused: 0x00a,
  invalidNamespace: 0x00b,
  commandSequenceError: 0x00c,
  invalidSglSegment: 0x00d,
  invalidSglCount: 0x00e,
  invalidSglLength: 0x00f,
  invalidSglMetadataLength: 0x010,
  invalidSglType: 0x011,
  invalidControllerMemoryUse: 0x012,
  invalidPrpOffset: 0x013,
  atomicWriteUnitExceeded: 0x014,
  operationDenied: 0x015,
  invalidSglOffset: 0x016,
  namespaceWriteProtected: 0x020,
  commandInterrupted: 0x021,
  transientTransportError: 0x022,
  lbaOutOfRange: 0x080,
  capacityExceeded: 0x081,
  namespaceNotReady: 0x082,
  reservationConflict: 0x083,
  formatInProgress: 0x084,

  invalidCompletionQueue: 0x100,
  invalidQueueId: 0x101,
  invalidQueueSize: 0x102,
  abortLimitExceeded: 0x103,
  eventRequestLimitExceeded: 0x105,
  invalidFirmwareSlot: 0x106,
  invalidFirmwareImage: 0x107,
  invalidInterruptVector: 0x108,
  invalidLogPage: 0x109,
  invalidFormat: 0x10a,
  invalidQueueDeletion: 0x10c,
  featureNotSaveable: 0x10d,
  featureNotChangeable: 0x10e,
  featureNotNamespaceSpecific: 0x10f,
  overlappingRange: 0x114,
  conflictingAttributes: 0x180,
  invalidProtectionInformation: 0x181,
  readOnlyRange: 0x182,

  writeFault: 0x280,
  unrecoveredReadError: 0x281,
  guardCheckError: 0x282,
  applicationTagError: 0x283,
  referenceTagError: 0x284,
  compareFailure: 0x285,
  accessDenied: 0x286,
  deallocatedBlock: 0x287,
} as const;
export type StatusName = keyof typeof Status;

/** Name of a status as {@link Status} has it, or its type and code in hexadecimal. */
export function statusName(status: number): string {
  for (const [name, value] of Object.entries(Status)) {
    if (value === status) return name;
  }
  return `sct ${(status >>> 8).toString(16)} sc 0x${(status & 0xff).toString(16).padStart(2, '0')}`;
}

/** The status in a completion's Dword 3, without `More`, `Do Not Retry` and the retry delay. */
export function statusOf(dword3: number): number {
  return (dword3 >>> 17) & 0x7ff;
}

/** Dword 3 of a completion. */
export const COMPLETION_PHASE = 0x0001_0000;
export const COMPLETION_MORE = 0x4000_0000;
/** Unsigned. */
export const COMPLETION_DO_NOT_RETRY = 0x8000_0000;
