/** What a process needs to drive a PCI function. */
import { deviceClassOf } from './classes.js';
import { FunctionError } from './error.js';
import type { PciFunction } from './functions.js';
import type { Machine } from './machine.js';
import { PciNames, hex } from './names.js';

/** Numbers of capabilities (linux/capability.h), of those that matter here. */
export const Capability = { CAP_IPC_LOCK: 14, CAP_SYS_RAWIO: 17, CAP_SYS_PTRACE: 19, CAP_SYS_ADMIN: 21 } as const;
export type CapabilityName = keyof typeof Capability;

const isBehindIommu = ({ iommuGroup, driver }: PciFunction): boolean => driver === 'vfio-pci' && iommuGroup?.noIommu === false;

/**
 * CAP_IPC_LOCK: pages are pinned beyond RLIMIT_MEMLOCK. Without an IOMMU also CAP_SYS_ADMIN, for physical addresses and for enabling a function that has no driver,
 * and CAP_SYS_RAWIO, for VFIO's no-IOMMU mode. Whoever drives such a function reaches all memory through it: these two give nothing that the function does not.
 */
export function capabilitiesFor(subject: PciFunction): CapabilityName[] {
  if (isBehindIommu(subject)) return ['CAP_IPC_LOCK'];
  return subject.driver === 'vfio-pci' ? ['CAP_IPC_LOCK', 'CAP_SYS_ADMIN', 'CAP_SYS_RAWIO'] : ['CAP_IPC_LOCK', 'CAP_SYS_ADMIN'];
}

/** Without this one only the limit of locked memory has to be raised. */
const DISPENSABLE: CapabilityName = 'CAP_IPC_LOCK';

/**
 * Whether this process can drive the function, as far as that can be told before it is opened.
 * @throws FunctionError for a class without a driver, a privilege that is missing, huge pages that are not there
 */
export function requireDrivable(machine: Machine, subject: PciFunction): void {
  const { address, classCode } = subject;
  if (deviceClassOf(subject) === undefined) {
    const what = `nothing here can drive ${address}: ${new PciNames().classOf(subject)} (class ${hex(classCode, 6)})`;
    throw new FunctionError('unsupported', what, 'name an NVMe controller (class 010802): see "ringwarden status --devices"');
  }
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(machine.text('proc/self/status') ?? '')?.[1] ?? '0'}`);
  const missing = capabilitiesFor(subject).filter((name) => name !== DISPENSABLE && ((effective >> BigInt(Capability[name])) & 1n) === 0n);
  if (missing.length > 0) {
    const remedy = `run the server as root, or give it AmbientCapabilities=${missing.join(' ')} (docs/deploy.md)`;
    throw new FunctionError('absent', `driving ${address} without an IOMMU needs ${missing.join(' and ')}`, remedy);
  }
  // Without an IOMMU only huge pages lie in one piece, and queues have to.
  if (!isBehindIommu(subject) && !hasHugePages(machine)) {
    throw new FunctionError('exhausted', `there are no huge pages, which the queues of ${address} lie in`, 'echo 16 > /proc/sys/vm/nr_hugepages');
  }
}

export const hasHugePages = (machine: Machine): boolean => /^HugePages_Total:\s+[1-9]/m.test(machine.text('proc/meminfo') ?? '');
