/** Many tenants, many regions, and tenants that flood: with clients that cost next to nothing, in one process. Each with its bar; see `results.mjs`. */
import { startChild } from './child.mjs';
import { compare, inTurns, median } from './measure.mjs';
import { withServer } from './server.mjs';

/** Small blocks, so that what is measured is not the copying of data. */
const SMALL_BLOCKS = { blockBytes: 512 };
const ACTIVE = 8;
const CONNECTED = 256;
const DEPTH = 64;
/** In flight together, however many tenants share them. */
const ALL_DEPTH = ACTIVE * DEPTH;
const MOST_REGIONS = 4096;
const PAGE_BYTES = 4096;
const FLOOD = 10;
const QUIET_RATE = 1000;
/** So often that the engine hardly ever goes to sleep. */
const AWAKE_RATE = 20_000;

const names = (count) => Array.from({ length: count }, (_, index) => `tenant${index}`);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const nanoseconds = (rates) => 1e9 / sum(rates);

/** Runs `work` with a server, and with a process that has a queue for each tenant. */
function withTenants(tenants, { regions = {}, ...options }, work) {
  return withServer(
    'emulated',
    tenants,
    async (server) => {
      const client = startChild('bare-client.mjs');
      try {
        await client.call('open', server.socket, tenants, regions);
        return await work(client);
      } finally {
        await client.end();
      }
    },
    options,
  );
}

const tenants = ({ rounds, scale }) => {
  const milliseconds = 500 * scale;
  return withTenants(names(CONNECTED), SMALL_BLOCKS, (many) =>
    withTenants(names(1), SMALL_BLOCKS, async (one) => {
      const values = await inTurns(
        rounds,
        () => many.call('rates', milliseconds, Array(ACTIVE).fill(DEPTH)),
        () => one.call('rates', milliseconds, [ALL_DEPTH]),
      );
      return compare(...values.map((each) => each.map(nanoseconds)));
    }),
  );
};

/** The same amount of memory, in one region or in thousands. */
const regions = ({ rounds, scale }) => {
  const milliseconds = 500 * scale;
  const limits = { regions: MOST_REGIONS + 16, messagesPerSecond: 10_000 };
  const options = (count) => ({ ...SMALL_BLOCKS, limits, regions: { regions: count, regionBytes: (MOST_REGIONS / count) * PAGE_BYTES } });
  return withTenants(names(1), options(MOST_REGIONS), (many) =>
    withTenants(names(1), options(1), async (one) => {
      const values = await inTurns(rounds, ...[many, one].map((client) => () => client.call('rates', milliseconds, [ALL_DEPTH])));
      return compare(...values.map((each) => each.map(nanoseconds)));
    }),
  );
};

/** Jain's index: 1 when all have the same, 1/n when one has everything. */
const jain = (rates) => sum(rates) ** 2 / (rates.length * sum(rates.map((rate) => rate ** 2)));

const fairness = ({ rounds, scale }) =>
  withTenants(names(ACTIVE), {}, async (client) => {
    const [equal, flooded] = [DEPTH, FLOOD * DEPTH].map((first) => [first, ...Array(ACTIVE - 1).fill(DEPTH)]);
    const values = await inTurns(rounds, ...[flooded, equal].map((depths) => () => client.call('rates', 500 * scale, depths)));
    const [ours, theirs] = values.map((each) => each.map(jain));
    return { value: median(ours), beside: median(theirs), ratio: median(ours) };
  });

const flood = ({ rounds, scale }) =>
  withTenants(names(2), {}, async (client) => {
    const results = [];
    for (const rate of [QUIET_RATE, AWAKE_RATE]) {
      const values = await inTurns(rounds, ...[FLOOD * DEPTH, 0].map((depth) => () => client.call('quiet', 2000 * scale, rate, depth)));
      results.push(compare(...values.map((each) => each.map(({ p99 }) => p99))));
    }
    return results;
  });

export const GROUPS = [
  { measure: tenants, results: [{ name: 'tenants', unit: 'ns', beside: 'one tenant', most: 1.3 }] },
  { measure: regions, results: [{ name: 'regions', unit: 'ns', beside: 'one region', most: 1.1 }] },
  { measure: fairness, results: [{ name: 'fairness', unit: "Jain's index", beside: 'nobody floods', least: 0.99 }] },
  {
    measure: flood,
    results: [
      { name: 'flood', unit: 'us', beside: 'alone', most: 2 },
      { name: 'flood-awake', unit: 'us', beside: 'alone' },
    ],
  },
];
