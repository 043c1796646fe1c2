// Measuring: percentiles of round trips, rates of pipelined work, and results beside something real in the same run.

/** Microseconds of `count` calls of `once`, one after the other, sorted; the first tenth warms up and is left out. */
export async function roundTrips(count, once) {
  const taken = [];
  for (let index = 0; index < count + count / 10; index++) {
    const start = process.hrtime.bigint();
    await once(index);
    if (index >= count / 10) taken.push(Number(process.hrtime.bigint() - start) / 1e3);
  }
  return taken.sort((a, b) => a - b);
}

export const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];

/** Units of work a second: `depth` calls of `once` are kept under way until `seconds` are over. `once` resolves to the units that it did. */
export async function rate(seconds, depth, once) {
  let units = 0;
  const warm = performance.now() + seconds * 200;
  let start = 0;
  const end = warm + seconds * 1000;
  const lane = async (number) => {
    for (let turn = 0; performance.now() < end; turn++) {
      const done = await once(number, turn);
      if (performance.now() < warm) continue;
      if (start === 0) start = performance.now();
      else units += done;
    }
  };
  await Promise.all(Array.from({ length: depth }, (_, number) => lane(number)));
  return units / ((performance.now() - start) / 1000);
}

/** Runs two things in turns, so that noise of the machine falls on both, and keeps the median of each. */
export async function inTurns(rounds, ours, theirs) {
  const results = [[], []];
  for (let round = 0; round < rounds; round++) {
    results[0].push(await ours());
    results[1].push(await theirs());
  }
  return results.map((values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]);
}
