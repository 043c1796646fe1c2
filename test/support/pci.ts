/**
 * A real PCI function for tests, given by the environment: only a guest, or a machine with a controller to spare, has one. Everything on it is overwritten.
 *
 * - `RINGWARDEN_PCI`: its address, such as 0000:01:00.0; its driver is the one that the path needs.
 * - `RINGWARDEN_PCI_PATH`: `vfio`, `uio` or `sysfs`; left out: the one whose driver it has.
 * - `RINGWARDEN_PCI_NAMESPACES`: bytes and block size of each namespace, `67108864/512,33554432/4096`.
 */
import { openPci, prepare, type PciPath } from '../../src/hw/linux/index.js';
import { groupOf } from '../../src/hw/linux/sysfs.js';
import type { Backing } from '../../src/hw/backing.js';
import type { Shape } from '../contract/nvme-driver.js';

const { RINGWARDEN_PCI, RINGWARDEN_PCI_PATH, RINGWARDEN_PCI_NAMESPACES = '67108864/512' } = process.env;

export const pciAddress = RINGWARDEN_PCI ?? '';
export const hasPci = pciAddress !== '';
export const pciPath = RINGWARDEN_PCI_PATH as PciPath | undefined;

/** For the names of suites: says what to set where there is no function. */
export const pciName = hasPci ? `PCI function ${pciAddress}` : 'a PCI function (skipped: name one to spare in RINGWARDEN_PCI)';

export const pciHasIommu = hasPci && groupOf(pciAddress)?.isolates === true;

export const pciShape: Shape = {
  name: 'as it is',
  namespaces: RINGWARDEN_PCI_NAMESPACES.split(',').map((text) => {
    const [bytes, blockBytes] = text.split('/').map(Number);
    return { bytes, blockBytes: blockBytes === 4096 ? 4096 : 512 };
  }),
};

export async function makePciWorld(): Promise<{ backing: Backing; end: () => Promise<void> }> {
  const prepared = await prepare({ address: pciAddress, path: pciPath });
  return { backing: openPci(prepared.handle), end: () => prepared.dispose() };
}
