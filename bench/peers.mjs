/** Block servers of others over NBD on a Unix socket, and fio, which measures them. What is not installed is said, and nothing here installs it. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const BYTES = 2 ** 30;
const START_MILLISECONDS = 5000;
const LOOK_MILLISECONDS = 10;
/** fio's runs have a beginning that is left out, seconds. */
const RAMP_SECONDS = 0.2;

/** Each answers reads from nowhere: `null-co` and `null` have no medium at all. */
const PEERS = {
  'qemu-storage-daemon': {
    args: (path) => [
      ...['--blockdev', `null-co,node-name=medium,size=${BYTES},read-zeroes=on`],
      ...['--nbd-server', `addr.type=unix,addr.path=${path}`],
      ...['--export', 'nbd,id=export,node-name=medium,name=bench'],
    ],
    uri: (path) => `nbd+unix:///bench?socket=${path}`,
  },
  nbdkit: {
    args: (path) => ['--foreground', '--unix', path, 'null', `size=${BYTES}`],
    uri: (path) => `nbd+unix:///?socket=${path}`,
  },
};

export const isThere = (program, args = ['--version']) => spawnSync(program, args).status === 0;

/** What is missing of fio with its NBD engine and the peers, in words; undefined when nothing is. */
export function missingPeers(...names) {
  const missing = names.filter((name) => !isThere(name));
  if (!isThere('fio')) missing.push('fio');
  else if (!spawnSync('fio', ['--enghelp']).stdout.includes('\tnbd\n')) missing.push("fio's nbd engine");
  return missing.length === 0 ? undefined : `${missing.join(', ')} not there: run "npm run bench:peers"`;
}

/** Runs `work` beside a peer. */
export async function withPeer(name, folder, work) {
  const { args, uri } = PEERS[name];
  const path = `${folder}/${name}.sock`;
  const child = spawn(name, args(path), { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(child, 'exit');
  try {
    for (let waited = 0; !existsSync(path); waited += LOOK_MILLISECONDS) {
      if (child.exitCode !== null || waited > START_MILLISECONDS) throw new Error(`${name} did not start`);
      await sleep(LOOK_MILLISECONDS);
    }
    return await work(uri(path));
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

const runFile = promisify(execFile);

/**
 * Random reads of 4 KiB by one process. Requests a second, and the median of the time from before the submit to the completion, microseconds. With
 * `thinkMicroseconds` it sleeps so long after each.
 */
export async function fio(uri, { milliseconds, depth, thinkMicroseconds = 0 }) {
  const { stdout } = await runFile('fio', [
    ...['--name=bench', '--ioengine=nbd', `--uri=${uri}`, `--size=${BYTES}`],
    ...['--rw=randread', '--bs=4096', `--iodepth=${depth}`],
    ...['--time_based', `--runtime=${milliseconds}ms`, `--ramp_time=${RAMP_SECONDS * 1000}ms`],
    ...(thinkMicroseconds > 0 ? [`--thinktime=${thinkMicroseconds}`] : []),
    ...['--lat_percentiles=1', '--percentile_list=50', '--output-format=json'],
  ]);
  const [{ read }] = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs;
  return { rate: read.iops, p50: read.lat_ns.percentile['50.000000'] / 1000 };
}
