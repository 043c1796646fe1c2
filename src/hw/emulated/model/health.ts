/** What the SMART / Health log tells: counters that the model really counts, and readings that an operator or a test sets. */
import { CriticalWarning, SMART_BYTES, SmartLog } from '../../nvme/spec/index.js';
import { putNumber } from './bytes.js';

/** Kelvins. */
export const WARNING_TEMPERATURE = 343;
export const CRITICAL_TEMPERATURE = 353;
const MS_PER_MINUTE = 60_000;
const MS_PER_HOUR = 3_600_000;
/** Bytes of a data unit of the log. */
const DATA_UNIT = 512_000;

/** Readings of the medium and the sensors. */
export interface HealthReadings {
  /** Composite temperature, kelvins. */
  readonly temperature: number;
  /** Percent. */
  readonly availableSpare: number;
  readonly percentageUsed: number;
  /** Bits of `CriticalWarning` beyond those that follow from temperature and spare. */
  readonly criticalWarning: number;
}

export class Health {
  temperature = 310;
  availableSpare = 100;
  spareThreshold = 10;
  percentageUsed = 0;
  otherWarnings = 0;
  /** Temperature Threshold feature, kelvins: over and under. */
  overThreshold = WARNING_TEMPERATURE;
  underThreshold = 0;

  bytesRead = 0;
  bytesWritten = 0;
  readCommands = 0;
  writeCommands = 0;
  mediaErrors = 0;
  unsafeShutdowns = 0;
  /** Time in which commands were carried out, ms. */
  busyMs = 0;
  readonly #poweredOn: number;

  /** @param now the model's clock, ms. */
  constructor(now: number) {
    this.#poweredOn = now;
  }

  set(readings: Partial<HealthReadings>): void {
    this.temperature = readings.temperature ?? this.temperature;
    this.availableSpare = readings.availableSpare ?? this.availableSpare;
    this.percentageUsed = readings.percentageUsed ?? this.percentageUsed;
    this.otherWarnings = readings.criticalWarning ?? this.otherWarnings;
  }

  /** Bits of `CriticalWarning` that hold now. */
  get warnings(): number {
    const hot = this.temperature >= this.overThreshold || this.temperature <= this.underThreshold;
    const worn = this.availableSpare < this.spareThreshold;
    return (this.otherWarnings & 0x1f) | (hot ? CriticalWarning.temperature : 0) | (worn ? CriticalWarning.spare : 0);
  }

  page(now: number, errorEntries: number): Uint8Array {
    const page = new Uint8Array(SMART_BYTES);
    putNumber(page, SmartLog.criticalWarning, this.warnings);
    putNumber(page, SmartLog.temperature, this.temperature);
    putNumber(page, SmartLog.availableSpare, this.availableSpare);
    putNumber(page, SmartLog.spareThreshold, this.spareThreshold);
    putNumber(page, SmartLog.percentageUsed, this.percentageUsed);
    putNumber(page, SmartLog.dataUnitsRead, Math.ceil(this.bytesRead / DATA_UNIT));
    putNumber(page, SmartLog.dataUnitsWritten, Math.ceil(this.bytesWritten / DATA_UNIT));
    putNumber(page, SmartLog.readCommands, this.readCommands);
    putNumber(page, SmartLog.writeCommands, this.writeCommands);
    putNumber(page, SmartLog.busyTime, Math.floor(this.busyMs / MS_PER_MINUTE));
    putNumber(page, SmartLog.powerCycles, 1);
    putNumber(page, SmartLog.powerOnHours, Math.floor((now - this.#poweredOn) / MS_PER_HOUR));
    putNumber(page, SmartLog.unsafeShutdowns, this.unsafeShutdowns);
    putNumber(page, SmartLog.mediaErrors, this.mediaErrors);
    putNumber(page, SmartLog.errorEntries, errorEntries);
    return page;
  }
}
