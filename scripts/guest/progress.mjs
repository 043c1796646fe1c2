/** What `npm run test:guest` says while it works: one line for each step, on standard error, with the time that it took. */

const began = performance.now();

/** Seconds since `from` (a time of `performance.now()`), for people. */
export const secondsSince = (from) => ((performance.now() - from) / 1000).toFixed(1);

export function say(text) {
  process.stderr.write(`guest: ${secondsSince(began).padStart(6)} s  ${text}\n`);
}

/** Says what is being done, does it, and says how long that took. */
export async function step(what, work) {
  const from = performance.now();
  say(`${what} ...`);
  const result = await work();
  say(`${what}: ${secondsSince(from)} s`);
  return result;
}

/** Something that whoever runs this can mend: one message, no stack. */
export class GuestFailure extends Error {}
