/**
 * What an operator does, with the commands: bind a controller, serve it, give it back. On every way to it that the guest has, and not while the system is on it.
 */
import { strict as assert } from 'node:assert';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NVME, NVME_SERIAL } from './devices.mjs';
import { bindTo, driverOf } from './pci.mjs';

const MAIN = join(import.meta.dirname, '../../dist/program/ringwarden.js');
const folder = mkdtempSync('/dev/shm/operator-');
/** Far longer than a command takes here. */
const COMMAND_MS = 60_000;
const hasIommu = process.argv.includes('--iommu');
const NO_IOMMU = '/sys/module/vfio/parameters/enable_unsafe_noiommu_mode';

function ringwarden(...args) {
  console.log(`${Math.round(performance.now() / 1000)} s: ringwarden ${args.join(' ')}`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { cwd: folder, encoding: 'utf8', timeout: COMMAND_MS });
  return { status, stdout, stderr };
}

/** What a command that works prints with `-o json`. */
function json(...args) {
  const { status, stdout, stderr } = ringwarden(...args, '-o', 'json');
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout);
}

/** A command that is refused with what is the matter and what mends it, and changes nothing. */
function refused(args, what, remedy) {
  const before = driverOf(NVME);
  const { status, stdout, stderr } = ringwarden(...args);
  assert.deepEqual({ status, stdout }, { status: 1, stdout: '' }, stderr);
  assert.match(stderr, what);
  assert.match(stderr, remedy);
  assert.equal(driverOf(NVME), before);
}

/** Capabilities of each thread, without those of Node's that takes no signals. */
function permittedOf(pid) {
  const threads = readdirSync(`/proc/${pid}/task`).map(
    (thread) => /^CapPrm:\s+(\S+)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))[1],
  );
  const kept = [...new Set(threads)].map((each) => [each, threads.filter((other) => other === each).length]);
  return kept.filter(([, count]) => count > 1).map(([each]) => each);
}

/** Runs a server on the function, moves data through it, and looks at what it may still do. */
async function serve(path, capabilities) {
  const server = spawn(process.execPath, [MAIN, 'serve', '--device', NVME, '--backing', path, '--unknown-data', 'wipe', '-o', 'json'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await Promise.race([once(server.stdout, 'data'), once(server, 'exit').then(([status]) => [`{"ended":${status}}`])]);
  assert.equal(JSON.parse(line).ready, true, String(line));
  const status = json('status');
  assert.match(status.devices[0].description, new RegExp(`^PCI function ${NVME} through`));
  assert.deepEqual(status.server.privileges.capabilities, capabilities);
  assert.deepEqual([status.server.privileges.noNewPrivileges, status.server.privileges.filter], [true, true]);
  assert.equal(permittedOf(server.pid).length, 1, 'threads differ in what they may do');
  writeFileSync(join(folder, 'data'), randomBytes(1_000_000));
  for (const [from, to] of [
    ['data', 'nvme0/data'],
    ['nvme0/data', 'back'],
  ]) {
    const length = from === 'data' ? [] : ['--length', '1000000'];
    const copied = ringwarden('copy', from, to, '--tenant', 'alice', ...length);
    assert.equal(copied.status, 0, copied.stderr);
  }
  assert.ok(readFileSync(join(folder, 'back')).equals(readFileSync(join(folder, 'data'))), 'the data came back changed');
  refused(['unbind', NVME], /has it open/, /stop that program/);
  server.kill('SIGTERM');
  const [code] = await once(server, 'exit');
  assert.equal(code, 0);
}

/** Shares that fit the controller of the guest. */
function configure() {
  const share = (tenant, first) => ({ name: tenant, uid: 'server', shares: [{ name: 'data', device: 'nvme0', first, size: '4 MiB' }] });
  const configuration = {
    state: 'state',
    isolation: 'none',
    listen: { unix: { path: 'ringwarden.sock' } },
    admin: { path: 'admin.sock' },
    devices: [{ name: 'nvme0', backing: { kind: 'pci', address: NVME } }],
    tenants: [share('alice', 0), share('bob', '4 MiB')],
  };
  mkdirSync(join(folder, 'ringwarden-data'));
  writeFileSync(join(folder, 'ringwarden-data/ringwarden.jsonc'), JSON.stringify(configuration));
}

configure();
bindTo(NVME, 'nvme');

// The system is on the disk.
const serialOf = (name) => {
  const file = `/sys/class/block/${name}/device/serial`;
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
};
const disk = readdirSync('/sys/class/block').find((name) => serialOf(name) === NVME_SERIAL);
assert.equal(spawnSync('mkswap', [`/dev/${disk}`]).status, 0, 'mkswap');
assert.equal(spawnSync('swapon', [`/dev/${disk}`]).status, 0, 'swapon');
for (const more of [[], ['--force'], ['--dry-run']]) refused(['bind', NVME, ...more], new RegExp(`${disk} is swap`), /swapoff/);
assert.equal(spawnSync('swapoff', [`/dev/${disk}`]).status, 0, 'swapoff');

refused(['serve', '--device', NVME], /held by the driver nvme/, new RegExp(`ringwarden bind ${NVME}`));
const paths = hasIommu ? ['vfio'] : ['vfio', 'uio', 'sysfs'];
if (hasIommu) refused(['bind', NVME, '--to', 'uio'], /an IOMMU translates/, /--to vfio/);
else {
  writeFileSync(NO_IOMMU, 'N');
  refused(['bind', NVME, '--to', 'vfio'], /no-IOMMU mode is off/, /echo 1 > \/sys\/module\/vfio/);
  writeFileSync(NO_IOMMU, 'Y');
}
const kept = {
  vfio: hasIommu ? ['CAP_IPC_LOCK', 'CAP_SYS_PTRACE'] : ['CAP_IPC_LOCK', 'CAP_SYS_RAWIO', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'],
  uio: ['CAP_IPC_LOCK', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'],
  sysfs: ['CAP_IPC_LOCK', 'CAP_SYS_PTRACE', 'CAP_SYS_ADMIN'],
};
for (const path of paths) {
  const bound = json('bind', NVME, '--to', path);
  assert.equal(driverOf(NVME), bound.driver);
  const seen = json('status', '--devices').functions.find(({ address }) => address === NVME);
  assert.deepEqual([seen.path, seen.drivenAs, seen.uses], [path, 'nvme', []]);
  await serve(path, kept[path]);
}
json('unbind', NVME);
assert.equal(driverOf(NVME), 'nvme', 'not given back');
refused(['unbind', NVME], /is not bound for programs/, /status --devices/);
console.log(`result: ${paths.join(', ')}`);
