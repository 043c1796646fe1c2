/** The PCI functions of the guest that the tests may do anything with. The machine puts them there (scripts/guest/machine.mjs), the tests find them there. */

/** QEMU's NVMe controller: function-level reset, MSI-X, no INTx mask bit missing. */
export const NVME = '0000:00:10.0';
/** QEMU's teaching device: a DMA engine with MSI and INTx. */
export const EDU = '0000:00:11.0';
/** An NVMe controller in a slot, the only one behind its port: it can be pulled and put back. */
export const SLOT_NVME = '0000:01:00.0';
/** The port that the slot is. */
export const SLOT_PORT = '0000:00:12.0';

/** A controller's size in bytes, and its serial number. */
export const NVME_BYTES = 256 * 1_048_576;
export const NVME_SERIAL = 'guest';
export const SLOT_SERIAL = 'slot';
