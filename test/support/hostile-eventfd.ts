/** What a client can do to an eventfd that the server raises: it shares the file description. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeSync } from 'node:fs';

/** A counter that is as full as a write can make it. */
export const FULL_COUNTER = 0xffff_ffff_ffff_fffen;

/** What the kernel says of an eventfd's counter. */
export function counterOf(fd: number): bigint {
  const line = /eventfd-count:\s*([0-9a-f]+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
  return BigInt(`0x${line?.[1] ?? ''}`);
}

/** From now on a write to the eventfd, through whatever descriptor, blocks for ever. */
export function makeWritesBlock(fd: number): void {
  const { status } = spawnSync('perl', ['-e', 'use Fcntl; fcntl(STDIN, F_SETFL, 0) or die'], { stdio: [fd, 'inherit', 'inherit'] });
  if (status !== 0) throw new Error('perl could not clear O_NONBLOCK');
  const value = Buffer.alloc(8);
  value.writeBigUInt64LE(FULL_COUNTER - counterOf(fd));
  writeSync(fd, value);
}
