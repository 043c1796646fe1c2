/** Log pages (Base Specification 1.4, 5.14.1; 2.0, 5.16.1). */
import type { ByteField } from './field.js';

/** Error Information (01h): an array of such entries, newest first. */
export const ERROR_ENTRY_BYTES = 64;
export const ErrorEntry = {
  /** Unique number of the error; 0: the entry is not used. */
  count: { at: 0, bytes: 8 },
  sqid: { at: 8, bytes: 2 },
  cid: { at: 10, bytes: 2 },
  /** Upper half of the completion's Dword 3: phase in bit 0, status above it. */
  status: { at: 12, bytes: 2 },
  /** Byte (7:0) and bit (10:8) of the command that is wrong; ffffh if not known. */
  parameter: { at: 14, bytes: 2 },
  lba: { at: 16, bytes: 8 },
  nsid: { at: 24, bytes: 4 },
  vendorAvailable: { at: 28, bytes: 1 },
  trtype: { at: 29, bytes: 1 },
  reserved30: { at: 30, bytes: 2 },
  commandSpecific: { at: 32, bytes: 8 },
  transportSpecific: { at: 40, bytes: 2 },
  reserved42: { at: 42, bytes: 22 },
} as const satisfies Record<string, ByteField>;

/** SMART / Health Information (02h). */
export const SMART_BYTES = 512;
export const SmartLog = {
  /** Bits of {@link CriticalWarning}. */
  criticalWarning: { at: 0, bytes: 1 },
  /** Composite temperature, kelvins. */
  temperature: { at: 1, bytes: 2 },
  availableSpare: { at: 3, bytes: 1 },
  spareThreshold: { at: 4, bytes: 1 },
  percentageUsed: { at: 5, bytes: 1 },
  enduranceWarning: { at: 6, bytes: 1 },
  reserved7: { at: 7, bytes: 25 },
  /** In thousands of 512 bytes, rounded up. */
  dataUnitsRead: { at: 32, bytes: 16 },
  dataUnitsWritten: { at: 48, bytes: 16 },
  readCommands: { at: 64, bytes: 16 },
  writeCommands: { at: 80, bytes: 16 },
  /** Minutes. */
  busyTime: { at: 96, bytes: 16 },
  powerCycles: { at: 112, bytes: 16 },
  powerOnHours: { at: 128, bytes: 16 },
  unsafeShutdowns: { at: 144, bytes: 16 },
  mediaErrors: { at: 160, bytes: 16 },
  errorEntries: { at: 176, bytes: 16 },
  warningTime: { at: 192, bytes: 4 },
  criticalTime: { at: 196, bytes: 4 },
  /** Eight sensors of 2 bytes, kelvins; 0: not there. */
  sensors: { at: 200, bytes: 16 },
  thermalTransitions1: { at: 216, bytes: 4 },
  thermalTransitions2: { at: 220, bytes: 4 },
  thermalTime1: { at: 224, bytes: 4 },
  thermalTime2: { at: 228, bytes: 4 },
  reserved232: { at: 232, bytes: 280 },
} as const satisfies Record<string, ByteField>;

/** Bits of the critical warning byte. */
export const CriticalWarning = { spare: 0x01, temperature: 0x02, reliability: 0x04, readOnly: 0x08, volatileBackup: 0x10 } as const;

/** Firmware Slot Information (03h). */
export const FIRMWARE_BYTES = 512;
export const FirmwareLog = {
  /** Active slot (2:0), slot after the next reset (6:4). */
  afi: { at: 0, bytes: 1 },
  reserved1: { at: 1, bytes: 7 },
  /** Revisions of slots 1 to 7, 8 ASCII bytes each. */
  frs: { at: 8, bytes: 56 },
  reserved64: { at: 64, bytes: 448 },
} as const satisfies Record<string, ByteField>;

/** Changed Namespace List (04h): up to 1024 namespace ids, ascending; one ffffffffh means too many to list. */
export const CHANGED_NAMESPACES_BYTES = 4096;
