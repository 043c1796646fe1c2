/** Text that ends on somebody's terminal. */

// C0 and C1 controls, and the characters that change the direction of what follows: none may reach a terminal from a tenant or a device.
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** The same text with every control character shown as its code, so that text of others cannot steer a terminal. */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The system's code of a failed call, for example `ENOENT`; the empty string when there is none. */
export const systemCode = (error: unknown): string => (error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '');

const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Bytes for people: exact when they are whole in some unit (`512 MiB`), else with one decimal (`1.5 GiB`). */
export function formatSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BINARY.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${BINARY[unit]}`;
}
