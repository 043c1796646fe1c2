/** The PCI functions of this machine, in the manner of `dpdk-devbind --status`: which are bound for programs, which could be, and which the machine itself needs. */
import { deviceClassOf } from '../hw/linux/classes.js';
import { pathOf } from '../hw/linux/drivers.js';
import { hasIommu, listFunctions, type PciFunction } from '../hw/linux/functions.js';
import type { Machine } from '../hw/linux/machine.js';
import { PciNames, hex } from '../hw/linux/names.js';
import { holders, standingOn } from '../hw/linux/use/index.js';
import { styled, table } from './output.js';

/** One function, as `status -o json` shows it. */
export interface FunctionView extends Omit<PciFunction, 'vendor' | 'device' | 'subsystemVendor' | 'subsystemDevice' | 'classCode'> {
  /** Hexadecimal, as everywhere else: `1b36:0010`, `1af4:1100`, `010802`. */
  readonly id: string;
  readonly subsystem: string;
  readonly class: string;
  readonly className: string;
  readonly model: string;
  /** Class of device that ringwarden can drive it as. */
  readonly drivenAs: string | null;
  /** How it is bound for programs. */
  readonly path: string | null;
  /** What this machine uses it for: then it is not bound. */
  readonly uses: readonly string[];
}

export interface MachineView {
  readonly iommu: boolean;
  readonly functions: readonly FunctionView[];
}

export function machineView(machine: Machine, names = new PciNames()): MachineView {
  const all = holders(machine);
  const functions = listFunctions(machine).map((each): FunctionView => {
    const { vendor, device, subsystemVendor, subsystemDevice, classCode, ...rest } = each;
    return {
      ...rest,
      id: `${hex(vendor, 4)}:${hex(device, 4)}`,
      subsystem: `${hex(subsystemVendor, 4)}:${hex(subsystemDevice, 4)}`,
      class: hex(classCode, 6),
      className: names.classOf(each),
      model: names.modelOf(each),
      drivenAs: deviceClassOf(each) ?? null,
      path: pathOf(each) ?? null,
      uses: standingOn(machine, each, all).uses.map(({ what }) => what),
    };
  });
  return { iommu: hasIommu(machine), functions };
}

const GROUPS: readonly (readonly [heading: string, belongs: (each: FunctionView) => boolean])[] = [
  ['PCI functions bound for programs', ({ path }) => path !== null],
  ['PCI functions that could be bound', ({ path, uses, drivenAs }) => path === null && uses.length === 0 && drivenAs !== null],
  ['PCI functions of this machine', ({ path, uses, drivenAs }) => path === null && (uses.length > 0 || drivenAs === null)],
];

export async function machineText({ iommu, functions }: MachineView): Promise<string> {
  const parts: string[] = [];
  for (const [heading, belongs] of GROUPS) {
    const rows = functions.filter(belongs).map((each) => {
      const { address, className, model, driver, path, iommuGroup, uses, drivenAs } = each;
      const group = iommuGroup === undefined || iommuGroup.noIommu ? 'none' : `group ${iommuGroup.number}`;
      const because = uses.length > 0 || drivenAs !== null ? uses.join('; ') : 'no driver here';
      return [address, className, model, driver ?? '-', path ?? '-', group, because === '' ? '-' : because];
    });
    if (rows.length === 0) continue;
    const headings = ['FUNCTION', 'CLASS', 'MODEL', 'DRIVER', 'PATH', 'IOMMU', 'IN USE'];
    parts.push(`${styled(['bold', 'underline'], heading)}\n${await table(headings, rows)}`);
  }
  if (parts.length === 0) return 'this machine has no PCI functions';
  const isolation = iommu ? 'an IOMMU is at work' : 'no IOMMU: a function that is bound reaches all memory, and only what drives it holds it back';
  return [...parts, isolation].join('\n\n');
}
