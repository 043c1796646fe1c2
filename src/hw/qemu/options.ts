/** Which device QEMU shall play, and of what kind. */

/** Largest MSI-X table of the device model. */
const MAX_TABLE_ENTRIES = 2_048;
/** Most vectors that can be used: each costs a descriptor here and in QEMU. */
export const MAX_VECTORS = 128;
const MAX_QUEUE_PAIRS = 1_024;
/** NVMe 1.4, 5.15.2.2: twenty ASCII characters. */
const SERIAL = /^[\x20-\x7e]{1,20}$/;
const MAX_NAMESPACES = 256;
/** 4 KiB times 2^12: more than the PRP lists of any driver here. */
const MAX_MDTS = 12;

/** A fault for tests: requests of this kind (that touch `sector`, in 512 bytes, if given) fail with `errno`. */
export interface InjectedError {
  readonly on: 'read' | 'write' | 'flush';
  readonly sector?: number;
  readonly errno: number;
  readonly once?: boolean;
}

/** One namespace; its identifier is its place in the list, from 1. */
export interface QemuDrive {
  /** Image file, raw: made (sparse) if it is not there, grown if it is shorter. */
  readonly file?: string | undefined;
  /** What a drive without `file` holds: nothing (reads give zeroes, writes are forgotten: the default), or what was written, until QEMU ends. */
  readonly content?: 'nothing' | 'memory' | undefined;
  /** Capacity, a multiple of `blockBytes`. */
  readonly bytes: number;
  readonly blockBytes: 512 | 4096;
  /** For tests, with a content of nothing only: how long each request takes. */
  readonly latencyNanoseconds?: number;
  readonly errors?: readonly InjectedError[];
}

/** The device models that can be asked for. */
export type DeviceModel = 'nvme' | 'edu';

interface CommonOptions {
  /** Expansion ROM: what it holds, or the file that has it; 1 byte to 16 MiB. QEMU fills it up with zeroes to a power of two. Default: none. */
  readonly rom?: Uint8Array | string | undefined;
  /** Path of the program; by default `qemu-system-x86_64` from the PATH. */
  readonly binary?: string | undefined;
  /**
   * How long QEMU may leave any access unanswered before the device counts as lost and QEMU is killed, milliseconds. It does leave them for as long
   * as the slowest request takes, when a controller is disabled with requests in flight.
   */
  readonly accessMilliseconds?: number;
}

/** The teaching device: see `hw/edu`. */
export interface QemuEduOptions extends CommonOptions {
  readonly model: 'edu';
}

/** An NVMe controller. */
export interface QemuNvmeOptions extends CommonOptions {
  readonly model?: 'nvme' | undefined;
  readonly drives: readonly QemuDrive[];
  /** MDTS: the largest transfer is 4096 * 2^mdts bytes; 0: no limit. 0 to 12. */
  readonly mdts: number;
  /** I/O queue pairs, 1 to 1024. */
  readonly queuePairs: number;
  /** Entries of the MSI-X table, 1 to 2048; of them the first 128 can be used. */
  readonly vectors: number;
  /** Serial number: 1 to 20 printable ASCII characters. */
  readonly serial: string;
}

export type QemuOptions = QemuNvmeOptions | QemuEduOptions;

export const modelOf = (options: QemuOptions): DeviceModel => options.model ?? 'nvme';

export const DEFAULT_ACCESS_MS = 10_000;

/** @throws RangeError that names the field. */
export function checkOptions(options: QemuOptions): void {
  check(wholeNumber(options.accessMilliseconds ?? DEFAULT_ACCESS_MS, 1, 3_600_000), 'accessMilliseconds', '1 to 3600000');
  if (options.model === 'edu') return;
  check(options.drives.length >= 1 && options.drives.length <= MAX_NAMESPACES, 'drives', `1 to ${MAX_NAMESPACES} drives`);
  options.drives.forEach((drive, index) => checkDrive(drive, `drives[${index}]`));
  check(wholeNumber(options.mdts, 0, MAX_MDTS), 'mdts', `0 to ${MAX_MDTS}`);
  check(wholeNumber(options.queuePairs, 1, MAX_QUEUE_PAIRS), 'queuePairs', `1 to ${MAX_QUEUE_PAIRS}`);
  check(wholeNumber(options.vectors, 1, MAX_TABLE_ENTRIES), 'vectors', `1 to ${MAX_TABLE_ENTRIES}`);
  check(SERIAL.test(options.serial), 'serial', '1 to 20 printable ASCII characters');
}

function checkDrive(drive: QemuDrive, path: string): void {
  check(drive.blockBytes === 512 || drive.blockBytes === 4096, `${path}.blockBytes`, '512 or 4096');
  check(wholeNumber(drive.bytes, drive.blockBytes, 2 ** 50) && drive.bytes % drive.blockBytes === 0, `${path}.bytes`, 'a multiple of blockBytes');
  check(drive.latencyNanoseconds === undefined || !holdsData(drive), `${path}.latencyNanoseconds`, 'absent where there is content');
  check(wholeNumber(drive.latencyNanoseconds ?? 0, 0, 2 ** 40), `${path}.latencyNanoseconds`, '0 or more');
}

/** Of an NVMe controller; others have none. */
export const drivesOf = (options: QemuOptions): readonly QemuDrive[] => (options.model === 'edu' ? [] : options.drives);

/** Whether what is written is there to be read. */
export function holdsData(drive: QemuDrive): boolean {
  return drive.file !== undefined || drive.content === 'memory';
}

function wholeNumber(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= least && value <= most;
}

function check(holds: boolean, field: string, allowed: string): void {
  if (!holds) throw new RangeError(`${field} must be ${allowed}`);
}
