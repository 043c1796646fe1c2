/** Measuring: round trips, rates of pipelined work, and two things in turns, so that the noise of the machine falls on both. */

/** Microseconds of `count` calls of `once`, one after the other, sorted; a tenth more of them comes first and is left out. */
export async function roundTrips(count, once) {
  const taken = [];
  const warm = Math.ceil(count / 10);
  for (let index = 0; index < warm + count; index++) {
    const start = performance.now();
    await once();
    if (index >= warm) taken.push((performance.now() - start) * 1000);
  }
  return taken.sort((a, b) => a - b);
}

/** Of sorted numbers. */
export const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

export const median = (numbers) =>
  percentile(
    [...numbers].sort((a, b) => a - b),
    0.5,
  );

/** Units of work a second, with `depth` calls of `once` under way. Each does `units`. What ends in the first fifth of the time is left out. */
export async function rate(milliseconds, depth, units, once) {
  const start = performance.now() + milliseconds / 5;
  const end = start + milliseconds;
  let done = 0;
  const lane = async (number) => {
    for (let turn = 0; performance.now() < end; turn++) {
      await once(number, turn);
      const now = performance.now();
      if (now >= start && now < end) done += units;
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, number) => lane(number)));
  return done / (milliseconds / 1000);
}

/** Calls each of `measures` in turn, `rounds` times. Returns the values of each. */
export async function inTurns(rounds, ...measures) {
  const values = measures.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, measure] of measures.entries()) values[index].push(await measure());
  }
  return values;
}

/** Medians of both, and the median of the rounds' ratios. */
export function compare(ours, theirs, ratio = (our, their) => our / their) {
  return { value: median(ours), beside: median(theirs), ratio: median(ours.map((our, round) => ratio(our, theirs[round]))) };
}
