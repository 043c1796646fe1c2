/** A configuration whose device is a PCI function, with a window for each of two tenants. */
import { configuration } from '../support/server.js';

export const pciConfiguration = (address: string, path: string): ReturnType<typeof configuration> =>
  configuration({ devices: [{ name: 'nvme0', backing: { kind: 'pci', address, path } }] });
