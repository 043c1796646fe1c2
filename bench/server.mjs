/** The driver server as in production: a process of its own, with a configuration file, in a folder that is removed at the end. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../dist/program/ringwarden.js', import.meta.url));
const SHARE_MIB = 16;
const LEAST_MIB = 1024;
/** Of /proc/PID/stat: clock ticks in a second. */
const TICKS = 100;

/** Runs `work` with a folder that is removed afterwards. */
export async function withFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The sample's configuration, but for the medium (memory), the number of tenants and the options. */
export function configurationFor(kind, tenants, { blockBytes = 4096, limits = {} } = {}) {
  return {
    state: 'state',
    isolation: 'none',
    listen: { unix: { path: 'server.sock', mode: '0600' } },
    admin: { path: 'admin.sock' },
    log: { level: 'warn', format: 'pretty' },
    devices: [
      {
        name: 'nvme0',
        class: 'nvme',
        backing: { kind, namespaces: [{ size: `${Math.max(LEAST_MIB, tenants.length * SHARE_MIB)} MiB`, blockBytes }] },
      },
    ],
    tenants: tenants.map((name, index) => ({
      name,
      uid: 'server',
      limits,
      shares: [{ name: 'data', device: 'nvme0', first: `${index * SHARE_MIB} MiB`, size: `${SHARE_MIB} MiB` }],
    })),
  };
}

/** Starts a server in `folder`. `ready()` resolves when it says so; `end()` asks it to stop and waits. */
export function spawnServer(folder, configuration, options) {
  const file = join(folder, 'ringwarden.json');
  writeFileSync(file, JSON.stringify(configuration));
  return spawnServe(folder, ['--config', file], join(folder, 'server.sock'), options);
}

function spawnServe(folder, args, socket, { execArgv = [] } = {}) {
  const child = spawn(process.execPath, [...execArgv, MAIN, 'serve', ...args, '-o', 'json'], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const line = once(createInterface(child.stdout), 'line');
  return {
    pid: child.pid,
    socket,
    async ready() {
      const [status] = await Promise.race([line.then(() => []), ended]);
      if (status !== undefined) throw new Error(`the server ended with status ${status}`);
    },
    async end() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function whileItRuns(server, work) {
  try {
    await server.ready();
    return await work(server);
  } finally {
    await server.end();
  }
}

/** Runs `work` beside a server that is ready. */
export const withServer = (kind, tenants, work, options) =>
  withFolder((folder) => {
    const server = spawnServer(folder, configurationFor(kind, tenants, options), options);
    return whileItRuns(server, () => work(server, folder));
  });

/** Runs `work` beside the server that `npm start` runs: the sample's configuration, with its image. */
export const withSample = (work) =>
  withFolder((folder) => {
    const server = spawnServe(folder, ['--sample', '--log-level', 'warn'], join(folder, 'ringwarden-data', 'ringwarden.sock'));
    return whileItRuns(server, () => work(server, folder));
  });

/** Seconds of processor time that a process has used, all threads together. */
export function processorSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** Resident memory of a process, MB (10^6 bytes). */
export function residentMegabytes(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(status)[1]) * 1024) / 1e6;
}
