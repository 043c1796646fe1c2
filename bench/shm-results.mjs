/** One client over shared memory: round trips, reads, and the tail. Each with its bar; see `results.mjs`. */
import { startChild } from './child.mjs';
import { compileFloor } from './floor.mjs';
import { compare, inTurns } from './measure.mjs';
import { fio, missingPeers, withPeer } from './peers.mjs';
import { withFolder, withSample, withServer } from './server.mjs';

const DEPTH = 32;
const THINK_MICROSECONDS = 1000;
/** Before anything is measured, so that all code is compiled. */
const WARM_REQUESTS = 20_000;
const WARM_MILLISECONDS = 500;
const TENANTS = ['alice', 'bob'];
/** How busy `tail` keeps the server, beside the most that the same client gets done. */
const LOAD = 0.7;
const TAIL_MILLISECONDS = 30_000;

const theirsByOurs = (ours, theirs) => theirs / ours;

/** Runs `work` with a program that has the SDK. */
async function withClient(server, options, work) {
  const client = startChild('shm-client.mjs');
  try {
    await client.call('open', server.socket, 'alice', options);
    return await work(client);
  } finally {
    await client.end();
  }
}

async function roundTrip({ rounds, scale }) {
  const skipped = missingPeers('qemu-storage-daemon');
  if (skipped !== undefined) return { skipped };
  return withSample((server, folder) =>
    withPeer('qemu-storage-daemon', folder, (uri) =>
      withClient(server, { poll: 'busy' }, async (client) => {
        const floor = compileFloor(folder);
        const count = 20_000 * scale;
        await client.call('roundTrips', WARM_REQUESTS);
        const [ours, theirs, least] = await inTurns(
          rounds,
          () => client.call('roundTrips', count),
          () => fio(uri, { milliseconds: 1000 * scale, depth: 1 }),
          () => floor?.('rtt', 10 * count),
        );
        const [mine, others] = [ours, theirs].map((values) => values.map(({ p50 }) => p50));
        const beside =
          floor === undefined
            ? { skipped: 'gcc is not there' }
            : compare(
                mine,
                least.map(({ p50 }) => p50),
                theirsByOurs,
              );
        return [compare(mine, others, theirsByOurs), beside];
      }),
    ),
  );
}

async function wake({ rounds, scale }) {
  const skipped = missingPeers('qemu-storage-daemon');
  if (skipped !== undefined) return { skipped };
  return withSample((server, folder) =>
    withPeer('qemu-storage-daemon', folder, (uri) =>
      withClient(server, { poll: 'sleep' }, async (client) => {
        const values = await inTurns(
          rounds,
          () => client.call('roundTrips', 500 * scale, THINK_MICROSECONDS / 1000),
          () => fio(uri, { milliseconds: 1000 * scale, depth: 1, thinkMicroseconds: THINK_MICROSECONDS }),
        );
        return compare(...values.map((each) => each.map(({ p50 }) => p50)), theirsByOurs);
      }),
    ),
  );
}

async function reads({ rounds, scale }) {
  const skipped = missingPeers('qemu-storage-daemon', 'nbdkit');
  if (skipped !== undefined) return { skipped };
  return withServer('emulated', TENANTS, (server, folder) =>
    withPeer('qemu-storage-daemon', folder, (qemu) =>
      withPeer('nbdkit', folder, (nbdkit) =>
        withClient(server, { poll: 'busy' }, async (client) => {
          const milliseconds = 1000 * scale;
          await client.call('rate', WARM_MILLISECONDS, 2, DEPTH / 2);
          const measure = (whole) => client.call('rate', milliseconds, 2, DEPTH / 2, whole);
          const [ours, checked, ...theirs] = await inTurns(
            rounds,
            () => measure(false),
            () => measure(true),
            ...[qemu, nbdkit].map((uri) => () => fio(uri, { milliseconds, depth: DEPTH })),
          );
          const faster = ours.map((_, round) => Math.max(...theirs.map((each) => each[round].rate)));
          return [compare(ours, faster), compare(checked, faster)];
        }),
      ),
    ),
  );
}

const tail = ({ scale }) =>
  withFolder((folder) => {
    const floor = compileFloor(folder);
    if (floor === undefined) return { skipped: 'gcc is not there' };
    return withServer('emulated', TENANTS, (server) =>
      withClient(server, { poll: 'busy' }, async (client) => {
        const milliseconds = TAIL_MILLISECONDS * scale;
        await client.call('most', WARM_MILLISECONDS, DEPTH);
        const rate = LOAD * (await client.call('most', 2000 * scale, DEPTH));
        const ours = await client.call('openLoop', milliseconds, rate);
        if (ours === undefined) return { skipped: `the requests were not kept up with at ${Math.round(rate)} a second: this machine is too busy` };
        const theirs = await floor('open', Math.round(rate), milliseconds);
        const spread = ({ p50, p999 }) => p999 / p50;
        return [
          { value: spread(ours), beside: spread(theirs), ratio: spread(ours) },
          { value: ours.p50, beside: theirs.p50, ratio: theirs.p50 / ours.p50 },
          { value: ours.p999, beside: theirs.p999, ratio: theirs.p999 / ours.p999 },
        ];
      }),
    );
  });

const QEMU = 'qemu-storage-daemon';

export const GROUPS = [
  {
    measure: roundTrip,
    results: [
      { name: 'shm-rtt-qd1', unit: 'us', beside: QEMU, least: 5 },
      { name: 'shm-rtt-qd1-floor', unit: 'us', beside: 'two processes in C' },
    ],
  },
  { measure: wake, results: [{ name: 'shm-wake-qd1', unit: 'us', beside: QEMU, least: 1 }] },
  {
    measure: reads,
    results: [
      { name: 'shm-read-4k-qd32', unit: 'requests/s', beside: `${QEMU} or nbdkit`, least: 5 },
      { name: 'shm-read-4k-qd32-checked', unit: 'requests/s', beside: `${QEMU} or nbdkit` },
    ],
  },
  {
    measure: tail,
    results: [
      { name: 'tail', unit: 'p99.9 / p50', beside: 'two processes in C', most: 10, orTwiceBeside: true },
      { name: 'tail-p50', unit: 'us', beside: 'two processes in C' },
      { name: 'tail-p999', unit: 'us', beside: 'two processes in C' },
    ],
  },
];
