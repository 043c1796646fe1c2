/** The PCI functions of the guest that the tests may do anything with: for QEMU's command line, and for the tests (test/guest/guest.ts). */

/** Bytes of each controller's disk. */
export const DISK_BYTES = 256 * 1_048_576;

export const DEVICES = {
  /** QEMU's NVMe controller, with function-level reset and MSI-X. */
  nvme: '0000:00:10.0',
  /** QEMU's teaching device: a DMA engine with MSI and INTx. */
  edu: '0000:00:11.0',
  /** An NVMe controller alone behind a port that is a slot, and as QEMU knows it, on its command line and in `device_add`. */
  slot: {
    address: '0000:01:00.0',
    port: '0000:00:12.0',
    device: { driver: 'nvme', id: 'slot', bus: 'slotport', drive: 'slot', serial: 'slot' },
  },
};
