/** Why a PCI function must be left alone: what of the running machine stands on it. */
import type { PciFunction } from '../functions.js';
import { PCI_DEVICES } from '../functions.js';
import { USER_DRIVERS } from '../drivers.js';
import type { Machine } from '../machine.js';
import { blockDevices, usesOfBlocks } from './blocks.js';
import { interfaces, usesOfInterfaces } from './interfaces.js';
import { type Holder, holders, usesOfProcesses } from './processes.js';

export { holders } from './processes.js';

/**
 * `bridge`: other functions are behind it. `disk`: the system keeps files, swap or other devices on it. `open`: a process has it open. `network`: an interface
 * that is in use, or of which it cannot be told. Only the last may be overridden.
 */
export type UseKind = 'bridge' | 'disk' | 'open' | 'network';

export interface Use {
  readonly kind: UseKind;
  /** A phrase such as `nvme0n1p2 is mounted at /`. */
  readonly what: string;
}

export interface Standing {
  readonly blocks: readonly string[];
  readonly interfaces: readonly string[];
  /** Empty: nothing speaks against taking it. */
  readonly uses: readonly Use[];
}

const BRIDGE_CLASS = 0x06;
const NETWORK_CLASS = 0x02;

/** What stands on a function now. `all`: what processes have open; for many functions it is looked for once. */
export function standingOn(machine: Machine, subject: PciFunction, all: readonly Holder[] = holders(machine)): Standing {
  const path = machine.real(PCI_DEVICES, subject.address) ?? '';
  const blocks = blockDevices(machine, path);
  const found = interfaces(machine, path);
  const uses = (kind: UseKind, phrases: readonly string[]): Use[] => phrases.map((what) => ({ kind, what }));
  const baseClass = subject.classCode >> 16;
  const isHidden = baseClass === NETWORK_CLASS && found.length === 0 && subject.driver !== undefined && !USER_DRIVERS.has(subject.driver);
  return {
    blocks,
    interfaces: found,
    uses: [
      ...uses('bridge', baseClass === BRIDGE_CLASS ? ['it is a bridge'] : []),
      ...uses('disk', usesOfBlocks(machine, blocks)),
      ...uses(
        'open',
        usesOfProcesses(machine, subject, blocks, all).map((who) => `${who} has it open`),
      ),
      ...uses('network', usesOfInterfaces(machine, found)),
      ...uses('network', isHidden ? ['its interface cannot be seen: it may be in another network name space'] : []),
    ],
  };
}
