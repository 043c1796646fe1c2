/** A real PCI function, and the kernel's door to it. */

/**
 * - `vfio`: bound to vfio-pci, behind an IOMMU or in no-IOMMU mode; MSI-X.
 * - `uio`: bound to uio_pci_generic; INTx.
 * - `sysfs`: bound to no driver; no interrupts, the driver polls.
 */
export type PciPath = 'vfio' | 'uio' | 'sysfs';

export interface PciOptions {
  /** Domain, bus, device and function as sysfs writes them: `0000:01:00.0`. */
  readonly address: string;
  /** Left out: the one whose driver the function has. */
  readonly path?: PciPath | undefined;
}
