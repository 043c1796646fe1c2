/** Block devices that stand on a PCI function, and what of the running system stands on them. */
import { closeSync, constants, openSync } from 'node:fs';
import { basename } from 'node:path';
import type { Machine } from '../machine.js';

/** Spaces and the like are octal in the files of the kernel (proc(5), mountinfo). */
const unescaped = (text: string): string => text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

interface Mount {
  /** `major:minor`; of some file systems (btrfs) it is not that of a disk. */
  readonly number: string;
  readonly folder: string;
  readonly source: string;
}

/** Mounts of this process and of the first one, which may live in other name spaces. */
function mountsOf(machine: Machine): Mount[] {
  const lines = ['1', 'self'].flatMap((pid) => machine.text('proc', pid, 'mountinfo')?.split('\n') ?? []);
  return lines.map((line) => {
    const fields = line.split(' ');
    return { number: fields[2] ?? '', folder: unescaped(fields[4] ?? ''), source: unescaped(fields[fields.indexOf('-') + 2] ?? '') };
  });
}

function swapsOf(machine: Machine): string[] {
  const lines = machine.text('proc/swaps')?.split('\n').slice(1) ?? [];
  return lines.map((line) => unescaped(line.split(/\s/)[0]));
}

const isBelow = (path: string | undefined, folder: string): boolean => path !== undefined && path.startsWith(`${folder}/`);

/**
 * Names of the block devices below the function, partitions included. An NVMe namespace with several paths is not below its controller, but below the subsystem
 * that the controller belongs to.
 */
export function blockDevices(machine: Machine, functionPath: string): string[] {
  const subsystems = machine.names('sys/class/nvme-subsystem').flatMap((name) => {
    const folder = machine.real('sys/class/nvme-subsystem', name);
    const entries = machine.names('sys/class/nvme-subsystem', name);
    const isOurs = entries.some((entry) => isBelow(machine.real('sys/class/nvme-subsystem', name, entry), functionPath));
    return folder !== undefined && isOurs ? [folder] : [];
  });
  return machine.names('sys/class/block').filter((name) => {
    const real = machine.real('sys/class/block', name);
    return [functionPath, ...subsystems].some((folder) => isBelow(real, folder));
  });
}

/** Whether the kernel itself holds a block device for somebody: a file system, swap, md, device-mapper, ZFS. */
function isClaimed(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK));
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EBUSY';
  }
}

/** What the system uses these block devices for, each as a phrase; empty when it does not. */
export function usesOfBlocks(machine: Machine, names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const mounts = mountsOf(machine);
  const swaps = swapsOf(machine);
  const loops = machine.names('sys/block').map((loop) => ({ loop, file: machine.text('sys/block', loop, 'loop/backing_file') }));
  return names.flatMap((name) => {
    const number = machine.text('sys/class/block', name, 'dev');
    const isIt = (path: string): boolean => {
      const real = path.startsWith('/dev/') ? machine.real(path) : undefined;
      return path === `/dev/${name}` || (real !== undefined && basename(real) === name);
    };
    const uses = [
      ...mounts.filter((mount) => mount.number === number || isIt(mount.source)).map(({ folder }) => `is mounted at ${folder}`),
      ...swaps.filter(isIt).map(() => 'is swap'),
      ...machine.names('sys/class/block', name, 'holders').map((holder) => `is part of ${holder}`),
      ...loops.filter(({ file }) => file !== undefined && isIt(file)).map(({ loop }) => `is behind ${loop}`),
    ];
    const [first] = uses.length > 0 ? uses : claimed(machine, name);
    return first === undefined ? [] : [`${name} ${first}`];
  });
}

const claimed = (machine: Machine, name: string): string[] => (isClaimed(machine.path('dev', name)) ? ['is held by the kernel'] : []);
