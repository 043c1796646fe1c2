/**
 * What is measured, each with its bar. A measure resolves to `{value, beside, ratio}`, or to `{skipped}` with what is missing. `ratio` is the number that the
 * bar is put on: ours beside the yardstick, or the value itself where the bar is absolute.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../dist/client/index.js';
import { startChild } from './child.mjs';
import { GROUPS as loadGroups } from './load-results.mjs';
import { compare, inTurns, median } from './measure.mjs';
import { GROUPS as qemuGroups } from './qemu-results.mjs';
import { configurationFor, processorSeconds, residentMegabytes, spawnServer, withFolder, withServer } from './server.mjs';
import { GROUPS as shmGroups } from './shm-results.mjs';

const TENANTS = Array.from({ length: 64 }, (_, index) => `tenant${index}`);
const LOOK_MILLISECONDS = 2;
/** An idle process is looked at once its heap has been tidied up. */
const SETTLE_MILLISECONDS = 15_000;

/** Runs `work` with our server and a program with the SDK, and with the echo server and its client: four processes. */
function withSockets(work) {
  return withServer('emulated', ['alice', 'bob'], async (server, folder) => {
    const [sdk, echoServer, echo] = [startChild('sdk-client.mjs'), startChild('echo-server.mjs'), startChild('echo-client.mjs')];
    try {
      await sdk.call('open', server.socket, 'alice');
      const connectEcho = async (data) => {
        const path = `${folder}/echo${data}.sock`;
        await echoServer.call('listen', path, data);
        await echo.call('open', path);
      };
      return await work(sdk, echo, connectEcho);
    } finally {
      await Promise.all([sdk.end(), echoServer.end(), echo.end()]);
    }
  });
}

const roundTrip = ({ rounds, scale }) =>
  withSockets(async (sdk, echo, connectEcho) => {
    await connectEcho(0);
    const count = 5000 * scale;
    const [ours, theirs] = await inTurns(
      rounds,
      () => sdk.call('roundTrips', count),
      () => echo.call('roundTrips', count),
    );
    return [0.5, 0.99].map((share) => {
      const pick = ({ p50, p99 }) => (share === 0.5 ? p50 : p99);
      return compare(ours.map(pick), theirs.map(pick), (our, their) => their / our);
    });
  });

const batches = ({ rounds, scale }) =>
  withSockets(async (sdk, echo, connectEcho) => {
    await connectEcho(0);
    const [milliseconds, requests] = [1000 * scale, 64];
    const results = [];
    for (const depth of [8, 1]) {
      const values = await inTurns(
        rounds,
        () => sdk.call('batches', milliseconds, depth, requests),
        () => echo.call('rate', milliseconds, depth, requests),
      );
      results.push(compare(...values));
    }
    return results;
  });

const reads = ({ rounds, scale }) =>
  withSockets(async (sdk, echo, connectEcho) => {
    await connectEcho(4096);
    const [milliseconds, depth] = [1000 * scale, 32];
    const [ours, single, batched] = await inTurns(
      rounds,
      () => sdk.call('reads', milliseconds, depth),
      () => echo.call('rate', milliseconds, depth, 1),
      () => echo.call('rate', milliseconds, 1, depth),
    );
    return [compare(ours, single), compare(ours, batched)];
  });

/** From the start of the process until it says hello to a client, milliseconds. */
const startOnce = () =>
  withFolder(async (folder) => {
    const start = performance.now();
    const server = spawnServer(folder, configurationFor('emulated', ['alice', 'bob']));
    try {
      for (;;) {
        try {
          const client = await connect({ socket: server.socket, tenant: 'alice' });
          const taken = performance.now() - start;
          await client.close();
          return taken;
        } catch (error) {
          if (error.code !== 'connectFailed') throw error;
          await sleep(LOOK_MILLISECONDS);
        }
      }
    } finally {
      await server.ready();
      await server.end();
    }
  });

function startNode() {
  const start = performance.now();
  spawnSync(process.execPath, ['-e', '0']);
  return performance.now() - start;
}

const absolute = (ours, theirs) => ({ ...compare(ours, theirs), ratio: median(ours) });

async function start({ rounds }) {
  const [ours, theirs] = await inTurns(2 * rounds, startOnce, startNode);
  return absolute(ours, theirs);
}

/** Percent of a core over some seconds. */
async function load(pid, seconds) {
  const before = processorSeconds(pid);
  await sleep(seconds * 1000);
  return ((processorSeconds(pid) - before) / seconds) * 100;
}

async function idle({ scale }) {
  const seconds = 20 * scale;
  const ours = await withServer('emulated', ['alice', 'bob'], async (server) => {
    const sdk = startChild('sdk-client.mjs');
    try {
      await sdk.call('open', server.socket, 'alice');
      await sdk.call('roundTrips', 100);
      await sleep(SETTLE_MILLISECONDS);
      return await load(server.pid, seconds);
    } finally {
      await sdk.end();
    }
  });
  const theirs = await withEcho(1, (pid) => load(pid, seconds));
  return absolute([ours], [theirs]);
}

/** An echo server with so many connections. */
function withEcho(connections, work) {
  return withFolder(async (folder) => {
    const [server, client] = [startChild('echo-server.mjs'), startChild('echo-client.mjs')];
    try {
      await server.call('listen', `${folder}/echo.sock`, 0);
      for (let count = 0; count < connections; count++) await client.call('open', `${folder}/echo.sock`);
      await client.call('roundTrips', 100);
      return await work(server.pid);
    } finally {
      await Promise.all([server.end(), client.end()]);
    }
  });
}

async function memory() {
  const ours = await withServer('emulated', TENANTS, async (server) => {
    const sdk = startChild('sdk-client.mjs');
    try {
      await sdk.call('openAll', server.socket, TENANTS);
      await sleep(1000);
      return residentMegabytes(server.pid);
    } finally {
      await sdk.end();
    }
  });
  const theirs = await withEcho(TENANTS.length, (pid) => residentMegabytes(pid));
  return absolute([ours], [theirs]);
}

async function engine({ rounds, scale }) {
  const child = startChild('engine-cost.mjs');
  try {
    await child.call('open');
    const count = 200_000 * scale;
    await child.call('cost', 'write', count);
    const [read, zeroes, call] = await inTurns(
      rounds,
      () => child.call('cost', 'read', count),
      () => child.call('cost', 'writeZeroes', count),
      () => child.call('getppid', count),
    );
    return [compare(zeroes, call), compare(read, call)];
  } finally {
    await child.end();
  }
}

async function admit({ rounds, scale }) {
  const child = startChild('admit.mjs');
  try {
    await child.call('open');
    const count = 400_000 * scale;
    await child.call('cost', count);
    const [ours, call] = await inTurns(
      rounds,
      () => child.call('cost', count),
      () => child.call('getppid', count),
    );
    return [
      compare(
        ours.map(({ all }) => all),
        call,
      ),
      compare(
        ours.map(({ submit }) => submit),
        call,
      ),
    ];
  } finally {
    await child.end();
  }
}

/**
 * Each group is measured together. `results` of a group name what its measure resolves to, in order. `least` or `most` is the bar; without either, it is
 * only reported. `orTwiceBeside`: where the yardstick itself is worse than the bar, twice its number will do.
 */
export const GROUPS = [
  {
    measure: roundTrip,
    results: [
      { name: 'socket-rtt-qd1', unit: 'us', beside: 'echo', least: 0.5 },
      { name: 'socket-rtt-qd1-p99', unit: 'us', beside: 'echo' },
    ],
  },
  {
    measure: batches,
    results: [
      { name: 'socket-batch-64', unit: 'requests/s', beside: 'echo', least: 0.5 },
      { name: 'socket-batch-64-lone', unit: 'requests/s', beside: 'echo', least: 0.5 },
    ],
  },
  {
    measure: reads,
    results: [
      { name: 'socket-read-4k-qd32', unit: 'requests/s', beside: 'echo', least: 0.4 },
      { name: 'socket-read-4k-qd32-batched', unit: 'requests/s', beside: 'echo, 32 in a message' },
    ],
  },
  { measure: start, results: [{ name: 'start', unit: 'ms', beside: 'node -e 0', most: 500 }] },
  { measure: idle, results: [{ name: 'idle-cpu', unit: '% of a core', beside: 'echo server', most: 1 }] },
  { measure: memory, results: [{ name: 'memory-64', unit: 'MB', beside: 'echo server', most: 150 }] },
  {
    measure: engine,
    results: [
      { name: 'engine-write-zeroes', unit: 'ns', beside: 'getppid' },
      { name: 'engine-read-4k', unit: 'ns', beside: 'getppid' },
    ],
  },
  {
    measure: admit,
    results: [
      { name: 'admit', unit: 'ns', beside: 'getppid', most: 1 },
      { name: 'admit-submit', unit: 'ns', beside: 'getppid', most: 0.5 },
    ],
  },
  ...shmGroups,
  ...loadGroups,
  ...qemuGroups,
];
