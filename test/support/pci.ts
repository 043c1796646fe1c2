/**
 * A real PCI function for tests, which only a guest or a machine with a controller to spare has: in the guest it is QEMU's NVMe, elsewhere the one that
 * `RINGWARDEN_PCI` names (0000:01:00.0), with one namespace of `RINGWARDEN_PCI_BYTES` in blocks of 512. It is taken from its driver, and everything on it is
 * overwritten.
 */
import { existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { openPci, prepare, type PciPath } from '../../src/hw/linux/index.js';
import { readFunction } from '../../src/hw/linux/functions.js';
import { Machine } from '../../src/hw/linux/machine.js';
import { VfioIrq } from '../../src/hw/linux/vfio-structures.js';
import type { Backing } from '../../src/hw/backing.js';
import type { BackingContractOptions } from '../contract/backing.js';
import type { Shape } from '../contract/nvme-driver.js';

const { RINGWARDEN_GUEST, RINGWARDEN_PCI, RINGWARDEN_PCI_BYTES } = process.env;
const inGuest = RINGWARDEN_GUEST !== undefined;
const MIB = 1_048_576;

/** QEMU's controller in the guest (scripts/guest/devices.mjs). */
export const pciAddress = RINGWARDEN_PCI ?? (inGuest ? '0000:00:10.0' : '');
export const hasPci = pciAddress !== '';

/** For the names of suites: says what to do where there is no function. */
export const pciName = hasPci
  ? `the PCI function ${pciAddress}`
  : 'a PCI function (skipped: run "npm run test:guest", or name one to spare in RINGWARDEN_PCI)';

export const pciHasIommu = hasPci && readFunction(new Machine(), pciAddress).iommuGroup?.noIommu === false;

export const pciShape: Shape = {
  name: 'as it is',
  namespaces: [{ bytes: RINGWARDEN_PCI_BYTES === undefined ? 256 * MIB : Number(RINGWARDEN_PCI_BYTES), blockBytes: 512 }],
};

const DRIVERS: Readonly<Record<PciPath, string | undefined>> = { vfio: 'vfio-pci', uio: 'uio_pci_generic', sysfs: undefined };

/** Gives the function the driver that a path needs; its module is loaded. */
export function bindFor(path: PciPath, address = pciAddress): void {
  bindTo(DRIVERS[path], address);
}

export function bindTo(driver: string | undefined, address = pciAddress): void {
  const folder = `/sys/bus/pci/devices/${address}`;
  const driverOf = (): string | undefined => (existsSync(`${folder}/driver`) ? basename(readlinkSync(`${folder}/driver`)) : undefined);
  if (driverOf() === driver) return;
  // Neither an IOMMU nor remapping of interrupts is to be had from QEMU without KVM, or not both.
  const unsafe = existsSync(`${folder}/iommu_group`)
    ? 'vfio_iommu_type1/parameters/allow_unsafe_interrupts'
    : 'vfio/parameters/enable_unsafe_noiommu_mode';
  if (driver === 'vfio-pci') writeFileSync(`/sys/module/${unsafe}`, 'Y');
  if (driverOf() !== undefined) writeFileSync(`${folder}/driver/unbind`, address);
  writeFileSync(`${folder}/driver_override`, `${driver ?? ''}\n`);
  if (driver !== undefined) writeFileSync('/sys/bus/pci/drivers_probe', address);
  if (driverOf() !== driver) throw new Error(`${address} has the driver ${driverOf()}, not ${driver}`);
}

export function pciWorld(path: PciPath): () => Promise<{ backing: Backing; end: () => Promise<void> }> {
  return async () => {
    const prepared = await prepare({ address: pciAddress, path });
    return { backing: openPci(prepared.handle), end: () => prepared.dispose() };
  };
}

/** Through VFIO, as if the function had no MSI-X. */
export async function lineWorld(): Promise<{ backing: Backing; end: () => Promise<void> }> {
  const { handle, dispose } = await prepare({ address: pciAddress, path: 'vfio' });
  if (handle.device === undefined) throw new Error('VFIO gives no device');
  const interrupts = { kind: 'vfio', device: handle.device, index: VfioIrq.intx, count: 1 } as const;
  return { backing: openPci({ ...handle, interrupts }), end: dispose };
}

const INTERRUPTS = { vfio: 'messages', uio: 'line', sysfs: 'none' } as const;

export function pciContract(path: PciPath): BackingContractOptions {
  return { autonomous: true, interrupts: INTERRUPTS[path], confines: path === 'vfio' && pciHasIommu, timeout: 60_000 };
}
