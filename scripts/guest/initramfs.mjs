/** The guest's first file system: busybox, modules, and the script that finds everything else. A cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst). */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const FOLDER = 0o40755;
const PROGRAM = 0o100755;
const FILE = 0o100644;
const CONSOLE = 0o20600;

const pad = (bytes) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);

function entry(index, { name, mode, bytes = Buffer.alloc(0), device = [0, 0] }) {
  const named = Buffer.from(`${name}\0`);
  // inode, mode, uid, gid, links, time, size, device of the file, device that it is, length of the name, no sum
  const fields = [index, mode, 0, 0, 1, 0, bytes.length, 0, 0, ...device, named.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([pad(Buffer.concat([Buffer.from(header), named])), pad(bytes)]);
}

/** Writes the archive for a kernel (a folder as `kernelFolder` makes it) and the script that its first process runs. */
export function writeInitramfs(kernel, init, target) {
  const { boot, later } = JSON.parse(readFileSync(join(kernel, 'kernel.json'), 'utf8'));
  const files = [
    { name: 'init', mode: PROGRAM, bytes: readFileSync(init) },
    { name: 'bin/busybox', mode: PROGRAM, bytes: readFileSync(join(kernel, 'busybox')) },
    { name: 'lib/boot.list', mode: FILE, bytes: Buffer.from(boot.join('\n')) },
    { name: 'lib/later.list', mode: FILE, bytes: Buffer.from(later.join('\n')) },
    ...[...boot, ...later].map((name) => ({
      name: `lib/modules/${name}.ko`,
      mode: FILE,
      bytes: readFileSync(join(kernel, 'modules', `${name}.ko`)),
    })),
  ];
  const folders = new Set(['dev', 'proc', 'sys', 'machine', 'changes', 'root']);
  for (const { name } of files) for (let folder = dirname(name); folder !== '.'; folder = dirname(folder)) folders.add(folder);
  const entries = [
    ...[...folders].sort().map((name) => ({ name, mode: FOLDER })),
    { name: 'dev/console', mode: CONSOLE, device: [5, 1] },
    ...files,
    { name: 'TRAILER!!!', mode: 0 },
  ];
  writeFileSync(target, Buffer.concat(entries.map((each, index) => entry(index + 1, each))));
}
