/** Log pages of a controller, decoded for the administrator with the names that nvme-cli uses. */
import { CriticalWarning, ERROR_ENTRY_BYTES, ErrorEntry, FirmwareLog, SMART_BYTES, SmartLog } from '../../hw/nvme/spec/index.js';

interface ByteField {
  readonly at: number;
  readonly bytes: number;
}

const ZERO_CELSIUS = 273;

/** A little-endian number of up to 16 bytes; exact below 2^53, the nearest number above. */
function number(page: Uint8Array, { at, bytes }: ByteField, base = 0): number {
  let value = 0;
  for (let index = bytes - 1; index >= 0; index--) value = value * 256 + (page[base + at + index] ?? 0);
  return value;
}

const warningNames = (bits: number): string[] => Object.entries(CriticalWarning).flatMap(([name, bit]) => ((bits & bit) === 0 ? [] : [name]));

/** SMART / Health Information (Base Specification 1.4, 5.14.1.2). Temperatures in degrees Celsius. */
export function decodeSmart(page: Uint8Array): object {
  if (page.length < SMART_BYTES) throw new RangeError(`the controller's SMART log has ${page.length} bytes`);
  const read = (field: ByteField): number => number(page, field);
  return {
    critical_warning: warningNames(read(SmartLog.criticalWarning)),
    temperature_celsius: read(SmartLog.temperature) - ZERO_CELSIUS,
    available_spare_percent: read(SmartLog.availableSpare),
    available_spare_threshold_percent: read(SmartLog.spareThreshold),
    percentage_used: read(SmartLog.percentageUsed),
    data_units_read: read(SmartLog.dataUnitsRead),
    data_units_written: read(SmartLog.dataUnitsWritten),
    host_read_commands: read(SmartLog.readCommands),
    host_write_commands: read(SmartLog.writeCommands),
    controller_busy_minutes: read(SmartLog.busyTime),
    power_cycles: read(SmartLog.powerCycles),
    power_on_hours: read(SmartLog.powerOnHours),
    unsafe_shutdowns: read(SmartLog.unsafeShutdowns),
    media_errors: read(SmartLog.mediaErrors),
    num_err_log_entries: read(SmartLog.errorEntries),
    warning_temperature_minutes: read(SmartLog.warningTime),
    critical_temperature_minutes: read(SmartLog.criticalTime),
  };
}

/** Error Information (Base Specification 1.4, 5.14.1.1): the entries in use, newest first. */
export function decodeErrors(page: Uint8Array): object[] {
  const entries: object[] = [];
  for (let base = 0; base + ERROR_ENTRY_BYTES <= page.length; base += ERROR_ENTRY_BYTES) {
    const read = (field: ByteField): number => number(page, field, base);
    const count = read(ErrorEntry.count);
    if (count === 0) continue;
    entries.push({
      error_count: count,
      sqid: read(ErrorEntry.sqid),
      cmdid: read(ErrorEntry.cid),
      // Bit 0 is the phase of the completion.
      status: `0x${(read(ErrorEntry.status) >>> 1).toString(16)}`,
      parm_error_location: read(ErrorEntry.parameter),
      lba: read(ErrorEntry.lba),
      nsid: read(ErrorEntry.nsid),
    });
  }
  return entries;
}

const REVISION_BYTES = 8;

/** Firmware Slot Information (Base Specification 1.4, 5.14.1.3). */
export function decodeFirmware(page: Uint8Array): object {
  const { at, bytes } = FirmwareLog.frs;
  const active = number(page, FirmwareLog.afi);
  const slots = Array.from({ length: bytes / REVISION_BYTES }, (_, slot) => {
    const from = at + slot * REVISION_BYTES;
    return Buffer.from(page.subarray(from, from + REVISION_BYTES))
      .toString('latin1')
      .replace(/[\0 ]+$/, '');
  });
  return { active_slot: active & 7, next_slot: (active >> 4) & 7, slots };
}
