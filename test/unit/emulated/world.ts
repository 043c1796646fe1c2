/** An embedded controller with a raw host on it, ended with the test. */
import { onTestFinished } from 'vitest';
import { type EmulatedBacking, type EmulatedHandle, type EmulatedOptions, openEmulated, prepareEmulated } from '../../../src/hw/emulated/index.js';
import { RawNvme } from '../../support/raw-nvme.js';

export const MIB = 1_048_576;
export const PAGE = 4096;

/** A backing, not claimed. `change` may alter the handle before it is opened. */
export async function openBacking(
  options: EmulatedOptions = {},
  change = (handle: EmulatedHandle): EmulatedHandle => handle,
): Promise<EmulatedBacking> {
  const prepared = await prepareEmulated({ namespaces: [{ bytes: 16 * MIB, blockBytes: 512 }], ...options });
  const backing = openEmulated(change(prepared.handle));
  onTestFinished(async () => {
    backing.dispose();
    await prepared.dispose();
  });
  return backing;
}

/** An enabled controller. */
export async function startHost(
  options: EmulatedOptions = {},
  vectors = 0,
  change?: (handle: EmulatedHandle) => EmulatedHandle,
): Promise<{ backing: EmulatedBacking; host: RawNvme }> {
  const backing = await openBacking(options, change);
  return { backing, host: await RawNvme.start(backing, 32, vectors) };
}

/** Fills bytes with a pattern that depends on `seed`. */
export function pattern(bytes: Uint8Array, seed: number): void {
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let index = 0; index < bytes.length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = state >>> 24;
  }
}
