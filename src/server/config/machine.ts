/** What a configuration says about this machine: sockets, certificates, images, groups. */
import { accessSync, constants } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { formatSize } from '../text.js';
import { find } from './find.js';
import { isLoopback } from './loopback.js';
import type { ConfigProblem, KeyPath } from './problems.js';
import type { ParsedConfig } from './schema.js';
import type { Source } from './source.js';
import type { WellFormed } from './validate.js';
import { namespaceBytes } from './windows.js';

/** Longest path of a Unix socket: sun_path has 108 bytes with the zero at its end (unix(7)). */
const MAX_SOCKET_PATH = 107;

function socketPath(source: Source, folder: string, path: KeyPath, value: string): ConfigProblem[] {
  const absolute = resolve(folder, value);
  if (Buffer.byteLength(absolute) <= MAX_SOCKET_PATH) return [];
  return [source.problem(path, `the path of the socket is longer than ${MAX_SOCKET_PATH} bytes: ${absolute}`, 'choose a shorter one')];
}

function readable(source: Source, folder: string, path: KeyPath, value: string): ConfigProblem[] {
  const file = resolve(folder, value);
  try {
    accessSync(file, constants.R_OK);
    return [];
  } catch {
    return [source.problem(path, `${file} cannot be read`, 'correct the path, or the rights of the file')];
  }
}

/** Listeners: at least one; TCP beyond loopback only with TLS, and TCP at all only with tokens. */
export function checkListeners(source: Source, folder: string, config: ParsedConfig): ConfigProblem[] {
  const { listen, admin } = config;
  const problems = socketPath(source, folder, ['admin', 'path'], admin.path);
  if (listen.unix === undefined && listen.tcp === undefined) {
    problems.push(source.problem(['listen'], 'nobody could connect', 'add "unix": {"path": "..."}, or "tcp"'));
  }
  if (listen.unix !== undefined) {
    problems.push(...socketPath(source, folder, ['listen', 'unix', 'path'], listen.unix.path));
    if (resolve(folder, listen.unix.path) === resolve(folder, admin.path)) {
      problems.push(source.problem(['admin', 'path'], 'clients and the administrator cannot have the same socket', 'choose another path'));
    }
  }
  if (listen.tcp !== undefined) {
    const { host, tls } = listen.tcp;
    const where: KeyPath = ['listen', 'tcp'];
    if (tls === undefined && !isLoopback(host)) {
      problems.push(
        source.problem([...where, 'host'], `${host} is not a loopback address, and there is no TLS`, 'add "tls", or listen on 127.0.0.1'),
      );
    }
    if (tls !== undefined) {
      problems.push(...readable(source, folder, [...where, 'tls', 'cert'], tls.cert), ...readable(source, folder, [...where, 'tls', 'key'], tls.key));
    }
    if (!config.tenants.some(({ token }) => token !== undefined)) {
      problems.push(source.problem(where, 'no tenant has a token, so nobody could use it', 'give a tenant a token, or leave "tcp" out'));
    }
  }
  if (admin.metrics !== undefined && !isLoopback(admin.metrics.host)) {
    const what = `${admin.metrics.host} is not a loopback address`;
    problems.push(source.problem(['admin', 'metrics', 'host'], what, 'metrics are served on loopback only: use 127.0.0.1, with a proxy before it'));
  }
  return problems;
}

/** Limits that contradict each other. */
export function checkLimits(source: Source, config: ParsedConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (config.limits.sendClose < config.limits.sendPause) {
    problems.push(source.problem(['limits', 'sendClose'], 'smaller than sendPause', `write at least ${formatSize(config.limits.sendPause)}`));
  }
  config.tenants.forEach(({ limits }, index) => {
    if (limits.staging <= limits.pinned) return;
    const what = `staging (${formatSize(limits.staging)}) does not fit into pinned (${formatSize(limits.pinned)})`;
    problems.push(source.problem(['tenants', index, 'limits'], what, 'raise pinned, or lower staging'));
  });
  return problems;
}

/** Devices: images that can be there, sizes that are known, nothing used twice. */
export function checkDevices(source: Source, folder: string, parts: WellFormed): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const images = new Map<string, KeyPath>();
  const serials = new Map<string, KeyPath>();
  const addresses = new Map<string, KeyPath>();
  for (const { path, value: device } of parts.devices) {
    const { backing } = device;
    if (backing.kind === 'pci') {
      once(addresses, backing.address, [...path, 'backing', 'address'], 'function', 'device');
      continue;
    }
    const pages = backing.maxTransfer / 4096;
    if (!Number.isInteger(Math.log2(pages))) {
      problems.push(source.problem([...path, 'backing', 'maxTransfer'], 'not a power of two times 4 KiB', 'write for example "512 KiB"'));
    }
    if (backing.serial !== undefined) once(serials, backing.serial, [...path, 'backing', 'serial'], 'serial number');
    backing.namespaces.forEach((namespace, index) => {
      const where = [...path, 'backing', 'namespaces', index];
      if (namespace.image !== undefined) {
        const image = resolve(folder, namespace.image);
        once(images, image, [...where, 'image'], 'image');
        problems.push(...checkImage(source, [...where, 'image'], image, namespace.size));
      }
      const bytes = namespaceBytes(folder, namespace);
      if (bytes === undefined) {
        problems.push(source.problem(where, 'the size of the namespace is not known', 'add "size": there is no image yet that tells it'));
      } else if (bytes === 0 || bytes % namespace.blockBytes !== 0) {
        const key = namespace.size === undefined ? 'image' : 'size';
        problems.push(
          source.problem([...where, key], `${bytes} bytes are not a whole number of blocks of ${namespace.blockBytes}`, 'correct the size'),
        );
      }
    });
  }
  return problems;

  function once(seen: Map<string, KeyPath>, value: string, path: KeyPath, what: string, owner = 'namespace'): void {
    const earlier = seen.get(value);
    if (earlier === undefined) seen.set(value, path);
    else problems.push(source.problem(path, `the ${what} ${value} is used already, on line ${source.line(earlier)}`, `give each ${owner} its own`));
  }
}

function checkImage(source: Source, path: KeyPath, image: string, size: number | undefined): ConfigProblem[] {
  const found = find(image);
  if (found === undefined) {
    const folder = dirname(image);
    if (find(folder)?.isDirectory() === true) return [];
    return [source.problem(path, `the folder ${folder} is not there, or may not be entered`, 'make it, or correct the path or its rights')];
  }
  if (!found.isFile()) return [source.problem(path, `${image} is not a plain file`, 'name a file; devices of the machine are not images')];
  if (size === undefined || found.size <= size) return [];
  const remedy = 'leave "size" out to use it whole, or name another image';
  return [source.problem(path, `the image has ${formatSize(found.size)}, more than the size of the namespace`, remedy)];
}
