/** Where a PCI function is: domain, bus, device, function, as `lspci -D` writes it. */
import { FunctionError } from './error.js';

/** How to find the right one. */
export const LIST_THEM = 'list the functions of this machine: ringwarden status --devices';

/** Domains beyond 16 bits are those of hosts behind a host (Intel VMD). */
export const ADDRESS = /^(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])$/;

/**
 * The address in full, in small letters: `01:00.0` and `0000:01:00.0` are `0000:01:00.0`. Nothing but such an address ever becomes part of a path.
 * @throws FunctionError `unsupported` for anything else.
 */
export function parseAddress(text: string): string {
  const parts = ADDRESS.exec(text);
  if (parts === null) {
    throw new FunctionError('unsupported', `"${text}" is not the address of a PCI function, such as 0000:01:00.0`, LIST_THEM);
  }
  const [, domain = '0000', bus, device, slot] = parts;
  return `${domain}:${bus}:${device}.${slot}`.toLowerCase();
}
