/**
 * A kernel for the guest: Debian's own, its modules, and `vfio.ko` built again with no-IOMMU mode, which Debian leaves off. Made once for each version of the kernel.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { collectModules } from './modules.mjs';
import { download, findPackages } from './packages.mjs';
import { GuestFailure, step } from './progress.mjs';

const runFile = promisify(execFile);
const MAX_OUTPUT = 2 ** 30;
/** Changes whenever what is made below changes, so that nothing of an older checkout is used. */
const RECIPE = 1;

/** Loaded before the root file system is there, in this order with what they need. */
const BOOT = ['virtio_pci', '9pnet_virtio', '9p', 'overlay'];
/** Loaded afterwards. Not the driver of NVMe: what a test wants bound, it binds. */
const LATER = ['vfio_iommu_type1', 'vfio_pci', 'uio_pci_generic', 'nvme', 'e1000e'];

async function run(program, ...args) {
  try {
    return (await runFile(program, args, { encoding: 'buffer', maxBuffer: MAX_OUTPUT })).stdout;
  } catch (error) {
    throw new GuestFailure(`${program} ${args.join(' ')}: ${String(error.stderr ?? error.message).trim()}`);
  }
}

const shell = (script, ...args) => run('bash', '-o', 'pipefail', '-c', script, 'bash', ...args);

/** @returns the folder that holds `vmlinux`, `busybox`, `modules/*.ko` and `kernel.json` ({release, version, boot, later}: modules in the order of loading) */
export async function kernelFolder() {
  const found = await step('the kernel that Debian has', findPackages);
  const cache = process.env.RINGWARDEN_GUEST_CACHE || join(homedir(), '.cache/ringwarden/guest');
  const folder = join(cache, `${found.release}_${found.version}_${RECIPE}`);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  // Beside the cache's entry, so that it appears whole or not at all; two that make it at once do not meet.
  const work = mkdtempSync(join(cache, '.making-'));
  try {
    await make(found, work);
    if (!existsSync(folder)) renameSync(join(work, 'made'), folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

async function make({ release, version, series, packages }, work) {
  const [debs, tree, made] = ['debs', 'tree', 'made'].map((name) => join(work, name));
  for (const folder of [debs, tree, made]) mkdirSync(folder);
  await step(`download of the packages of ${release} ${version}, some 220 MB`, () => download(packages, debs));
  const deb = (prefix) =>
    join(
      debs,
      readdirSync(debs).find((name) => name.startsWith(prefix)),
    );
  await step('unpacking', async () => {
    for (const prefix of ['linux-image', 'linux-headers', 'linux-kbuild', 'linux-compiler', 'busybox']) {
      for (const name of readdirSync(debs).filter((name) => name.startsWith(prefix))) await run('dpkg-deb', '-x', join(debs, name), tree);
    }
    const archive = `linux-source-${series}`;
    const inside = `./usr/src/${archive}.tar.xz`;
    await shell(
      'dpkg-deb --fsys-tarfile "$1" | tar -xO "$2" | xz -dc -T0 | tar -x -C "$3" "$4"',
      deb('linux-source'),
      inside,
      work,
      `${archive}/drivers/vfio`,
    );
  });
  const vfio = await step('vfio.ko with no-IOMMU mode', () => buildVfio(tree, release, join(work, `linux-source-${series}/drivers/vfio`)));
  await step('kernel and modules', async () => {
    writeFileSync(join(made, 'vmlinux'), await vmlinux(join(tree, 'boot', `vmlinuz-${release}`), work));
    const busybox = ['bin/busybox', 'usr/bin/busybox'].map((path) => join(tree, path)).find((path) => existsSync(path));
    cpSync(busybox, join(made, 'busybox'));
    const modules = ['lib/modules', 'usr/lib/modules'].map((path) => join(tree, path, release)).find((path) => existsSync(path));
    const { boot, later } = await collectModules(modules, [BOOT, LATER], join(made, 'modules'));
    cpSync(vfio, join(made, 'modules/vfio.ko'));
    writeFileSync(join(made, 'kernel.json'), JSON.stringify({ release, version, boot, later }));
  });
}

/** Builds the module from the kernel's own source and makefile, out of its tree, and fits the headers' makefile to where they were unpacked. */
async function buildVfio(tree, release, source) {
  const headers = join(tree, 'usr/src', `linux-headers-${release}`);
  const makefile = join(headers, 'Makefile');
  writeFileSync(makefile, readFileSync(makefile, 'utf8').replace(/^include \//m, `include ${tree}/`));
  // Type information for BPF would need a whole kernel image.
  await run('make', '-s', '-C', headers, `M=${source}`, 'vfio.ko', 'KCFLAGS=-DCONFIG_VFIO_NOIOMMU=1', 'CONFIG_DEBUG_INFO_BTF_MODULES=');
  return join(source, 'vfio.ko');
}

/** The kernel inside a bzImage, which QEMU can boot at once, by PVH (Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length). */
async function vmlinux(bzImage, work) {
  const image = readFileSync(bzImage);
  const start = (image[0x1f1] + 1) * 512 + image.readUInt32LE(0x248);
  // The payload's last four bytes are its length when unpacked.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4);
  const packed = join(work, 'payload');
  writeFileSync(packed, payload);
  const isZstd = payload.readUInt32LE(0) === 0xfd2fb528;
  return isZstd ? run('zstd', '-dc', packed) : run('xz', '-dc', '--single-stream', packed);
}
