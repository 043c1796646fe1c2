/** What a device model's expansion ROM holds. */
import { readFileSync } from 'node:fs';
import { HardwareError } from './task.js';

/** Largest expansion ROM (PCI Local Bus 3.0, 6.2.5.2). */
const MAX_BYTES = 2 ** 24;

/** The bytes themselves, or of the file at a path. @throws HardwareError `absent` for a file that cannot be read; RangeError for one that is no ROM by its size. */
export function loadRom(rom: Uint8Array | string | undefined): Uint8Array | undefined {
  if (rom === undefined) return undefined;
  const bytes = typeof rom === 'string' ? read(rom) : rom;
  if (bytes.length === 0 || bytes.length > MAX_BYTES) throw new RangeError(`rom must have 1 to ${MAX_BYTES} bytes, not ${bytes.length}`);
  return Uint8Array.from(bytes);
}

function read(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new HardwareError('absent', `the ROM ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}
