/** Helpers of the client's tests. */

/** What a promise rejects with; fails when it does not. */
export async function errorOf(promise: Promise<unknown>): Promise<Error & Record<string, unknown>> {
  try {
    await promise;
  } catch (error) {
    return error as Error & Record<string, unknown>;
  }
  throw new Error('the promise was fulfilled');
}

/** Waits, turn by turn of the event loop, until `condition` holds; the test's own time limit ends it otherwise. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Bytes that differ from block to block. */
export function bytes(length: number, seed = 0): Buffer {
  const result = Buffer.alloc(length);
  for (let index = 0; index < length; index++) result[index] = ((index + seed) * 31 + (index >> 8)) & 0xff;
  return result;
}
