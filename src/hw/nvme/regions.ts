/** Which registers of an NVMe controller a tenant may read. */
import type { DriverRegions } from '../pci/index.js';
import { CAP, CSTS, DOORBELLS, VS } from './spec/index.js';

const REGISTERS_BAR = 0;

/**
 * What the controller can do, its version, and whether it is ready or failed. Registers with addresses of queues are not among them. Registers are read as 32-bit
 * words, as the specification has them (Base Specification 1.4, 3.1).
 */
export const NVME_REGIONS: DriverRegions = {
  readable: [
    { name: 'CAP', bar: REGISTERS_BAR, offset: CAP.offset, bytes: CAP.bits / 8, width: 4 },
    { name: 'VS', bar: REGISTERS_BAR, offset: VS.offset, bytes: VS.bits / 8, width: 4 },
    { name: 'CSTS', bar: REGISTERS_BAR, offset: CSTS.offset, bytes: CSTS.bits / 8, width: 4 },
  ],
  never: [{ bar: REGISTERS_BAR, offset: DOORBELLS, bytes: Infinity }],
};
