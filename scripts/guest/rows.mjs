/** What the guest shows: one row each of the table that `npm run test:guest` prints. test/guest/guest.ts says what a row is. */

/** The machines, in the order in which they are booted. */
export const BOOTS = [
  { name: 'plain', hasIommu: false },
  { name: 'iommu', hasIommu: true },
];

const smoke = { path: '-', what: 'the guest is what the tests expect', seconds: 20, program: 'smoke.js' };
const danger = 'a wrong address: raw, and through the server (R41)';
const contracts = 'the contracts of backing and driver';
const requirements = 'the requirements, one by one';

const ROWS = {
  plain: [
    smoke,
    { path: '-', what: 'a controller leaves its slot and comes back', seconds: 60, program: 'hotplug.js' },
    { path: 'vfio no-IOMMU', what: 'figures, beside a C program', seconds: 60, tests: 'test/guest/figures.test.ts' },
    { path: 'all', what: 'bind, serve, two tenants, unbind', seconds: 180, tests: 'test/guest/serve.test.ts' },
    { path: 'all', what: 'what an operator is kept from, and a server', seconds: 180, tests: 'test/guest/operator.test.ts', skips: 1 },
    { path: 'vfio no-IOMMU', what: 'a minute of verified work, and what can happen in it', seconds: 240, tests: 'test/guest/minute.test.ts' },
    { path: 'all', what: danger, seconds: 180, tests: 'test/guest/danger.test.ts' },
    { path: 'vfio no-IOMMU', what: requirements, seconds: 120, tests: 'test/guest/requirements.test.ts' },
    { path: 'all', what: 'who gets a function (R18, R33)', seconds: 60, tests: 'test/contract/linux-claim.test.ts', skips: 1 },
    { path: 'sysfs', what: contracts, seconds: 200, tests: 'test/contract/linux-sysfs.test.ts', skips: 6 },
    { path: 'uio', what: contracts, seconds: 200, tests: 'test/contract/linux-uio.test.ts', skips: 4 },
    { path: 'vfio no-IOMMU', what: contracts, seconds: 200, tests: 'test/contract/linux-vfio.test.ts', skips: 7 },
    { path: '-', what: 'pins hold against holders of the file', seconds: 30, tests: 'test/unit/linux/memory.test.ts' },
    { path: 'sysfs', what: 'pins hold against compaction and migration', seconds: 120, tests: 'test/contract/linux-pins.test.ts' },
    { path: 'all', what: 'removal and re-plug (R24)', seconds: 120, tests: 'test/contract/linux-removal.test.ts' },
  ],
  iommu: [
    smoke,
    { path: 'vfio', what: 'bind, serve, two tenants, unbind', seconds: 120, tests: 'test/guest/serve.test.ts' },
    { path: 'vfio', what: danger, seconds: 60, tests: 'test/guest/danger.test.ts' },
    { path: 'vfio', what: 'what an operator is kept from, and a server', seconds: 120, tests: 'test/guest/operator.test.ts' },
    { path: 'vfio', what: requirements, seconds: 120, tests: 'test/guest/requirements.test.ts' },
    { path: 'vfio', what: 'who gets a function (R18, R33)', seconds: 60, tests: 'test/contract/linux-claim.test.ts', skips: 2 },
    { path: 'vfio', what: contracts, seconds: 200, tests: 'test/contract/linux-vfio.test.ts', skips: 5 },
    { path: 'vfio', what: 'removal and re-plug (R24)', seconds: 60, tests: 'test/contract/linux-removal.test.ts' },
  ],
};

/** The rows of one boot whose path or words contain one of these; all, if there are none. */
export function rowsOf(boot, only = []) {
  return ROWS[boot].filter(({ path, what }) => only.length === 0 || only.some((word) => `${path} ${what}`.includes(word)));
}
