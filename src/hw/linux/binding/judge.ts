/** What speaks against binding a function, before anything is changed. */
import { accessSync, constants } from 'node:fs';
import { deviceClassOf } from '../classes.js';
import type { PciPath } from '../options.js';
import { PCI_DEVICES, type PciFunction } from '../functions.js';
import type { Machine } from '../machine.js';
import { PciNames, hex } from '../names.js';
import { hasHugePages } from '../privilege.js';
import { standingOn, type Use, type UseKind } from '../use/index.js';
import { FunctionError } from '../error.js';
import { choosePath, missingFor } from './requirements.js';

const REMEDIES: Readonly<Record<UseKind, string>> = {
  bridge: 'name the function behind it: see "ringwarden status --devices"',
  disk: 'name another function, or take the system off this one first: unmount, swapoff',
  open: 'stop that program first',
  network: 'take it down first (ip link set dev NAME down), or say --force if you do not reach this machine over it',
};

/** @throws FunctionError when something stands on the function; with `kinds`, only when one of these does. */
export function refuseUses(machine: Machine, subject: PciFunction, kinds?: readonly UseKind[]): void {
  const uses: readonly Use[] = standingOn(machine, subject).uses.filter(({ kind }) => kinds?.includes(kind) ?? true);
  if (uses.length === 0) return;
  const what = uses.map((use) => use.what).join('; ');
  throw new FunctionError('busy', `${subject.address} is in use by this machine: ${what}`, REMEDIES[uses[0].kind]);
}

/** @throws FunctionError when nothing here can drive the function. */
export function refuseClass(subject: PciFunction): void {
  if (deviceClassOf(subject) !== undefined) return;
  const { address, classCode } = subject;
  const what = `ringwarden has no driver for ${address}: ${new PciNames().classOf(subject)} (class ${hex(classCode, 6)})`;
  throw new FunctionError('unsupported', what, 'name an NVMe controller (class 010802), or say --force to bind it for another program');
}

/** The path that is wanted, or the best one. @throws FunctionError that says what is missing. */
export function choose(machine: Machine, subject: PciFunction, to: PciPath | undefined): PciPath {
  if (to !== undefined) {
    const missing = missingFor(machine, subject, to);
    if (missing !== undefined) throw new FunctionError('absent', `${subject.address} cannot be bound to ${to}: ${missing.what}`, missing.remedy);
    return to;
  }
  const { path, missing } = choosePath(machine, subject);
  if (path !== undefined) return path;
  const what = [...missing].map(([each, { what }]) => `${each}: ${what}`).join('; ');
  throw new FunctionError('absent', `${subject.address} cannot be bound: ${what}`, [...missing.values()][0]?.remedy ?? '');
}

/** @throws FunctionError when this process may not move the function. */
export function requirePrivilege(machine: Machine, address: string, command: string): void {
  try {
    accessSync(machine.path(PCI_DEVICES, address, 'driver_override'), constants.W_OK);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    if (code === 'EROFS') throw new FunctionError('unsupported', '/sys cannot be written to here, as in a container', 'run this on the host');
    throw new FunctionError('unsupported', 'only root may move functions between drivers', `sudo ringwarden ${command}`);
  }
}

/** What the operator should know of a path before relying on it. */
export function notesOn(machine: Machine, subject: PciFunction, path: PciPath, to: PciPath | undefined): string[] {
  const notes: string[] = [];
  if (to === undefined) {
    for (const [better, { what, remedy }] of choosePath(machine, subject).missing) notes.push(`not by ${better}: ${what} (mend it: ${remedy})`);
  }
  if (subject.iommuGroup === undefined || subject.iommuGroup.noIommu) {
    const taint = path === 'vfio' ? ', and the kernel is tainted once it is opened' : '';
    notes.push(`no IOMMU stands between ${subject.address} and the memory of this machine${taint}`);
  }
  if (!hasHugePages(machine)) notes.push('no huge pages are there for queues of more than a page (mend it: echo 16 > /proc/sys/vm/nr_hugepages)');
  return notes;
}
