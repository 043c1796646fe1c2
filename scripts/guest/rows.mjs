/** What the guest shows: one row each of the table that `npm run test:guest` prints. test/guest/guest.ts says what a row is. */
import { DEVICES } from './devices.mjs';

const { nvme } = DEVICES;

/** The machines, in the order in which they are booted. */
export const BOOTS = [
  { name: 'plain', hasIommu: false },
  { name: 'iommu', hasIommu: true },
];

const smoke = { path: '-', what: 'the guest is what the tests expect', seconds: 20, program: 'smoke.js' };

/** The contract suites, by one way to the device. */
const contracts = (path, way, driver) =>
  [
    ['the contract of backings', 'linux.test.ts'],
    ['the contract of the NVMe driver', 'nvme-driver-linux.test.ts'],
  ].map(([what, file]) => ({
    path,
    what,
    seconds: 120,
    bind: { [nvme]: driver },
    env: { RINGWARDEN_PCI: nvme, RINGWARDEN_PCI_PATH: way, RINGWARDEN_PCI_NAMESPACES: '268435456/512' },
    tests: `test/contract/${file}`,
  }));

const ROWS = {
  plain: [
    smoke,
    { path: '-', what: 'a controller leaves its slot and comes back', seconds: 60, program: 'hotplug.js' },
    {
      path: 'vfio no-IOMMU',
      what: 'a C program with a queue of its own, 4 KiB reads',
      seconds: 30,
      bind: { [nvme]: 'vfio-pci' },
      program: 'figures.js',
    },
    ...contracts('vfio no-IOMMU', 'vfio', 'vfio-pci'),
    ...contracts('uio', 'uio', 'uio_pci_generic'),
    ...contracts('sysfs', 'sysfs', null),
  ],
  iommu: [smoke, ...contracts('vfio', 'vfio', 'vfio-pci')],
};

/** The rows of one boot whose path or words contain one of these; all, if there are none. */
export function rowsOf(boot, only = []) {
  return ROWS[boot].filter(({ path, what }) => only.length === 0 || only.some((word) => `${path} ${what}`.includes(word)));
}
