import { isIPv4, isIPv6 } from 'node:net';

/** Whether an address to listen on can be reached from this machine only (RFC 1122 3.2.1.3, RFC 4291 2.5.3). Names other than `localhost` cannot be judged. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.');
  if (isIPv6(host)) return new URL(`http://[${host}]`).hostname === '[::1]';
  return host.toLowerCase() === 'localhost';
}
