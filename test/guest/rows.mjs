/**
 * What the guest shows: one row each of the table that `npm run test:guest` prints.
 *
 * A row: `boot` (the machine that it wants), `path` (the way to the device), `what`, `seconds` (after which it has failed), `driver` (the kernel's driver that
 * `device` is bound to before it; null: none), `command` (in the project's folder, with `env` added), or `tests` (files for Vitest, all of whose tests must pass).
 */

import { NVME } from './devices.mjs';

const node = (program, ...args) => [process.execPath, `test/guest/${program}`, ...args];

/** The machines, in the order in which they are booted. */
export const BOOTS = [
  { name: 'plain', hasIommu: false },
  { name: 'iommu', hasIommu: true },
];

const ROWS = [
  { boot: 'plain', path: '-', what: 'the guest is what the tests expect', seconds: 20, command: node('smoke.mjs') },
  {
    boot: 'plain',
    path: 'vfio no-IOMMU',
    what: 'a C program with a queue of its own, 4 KiB reads',
    seconds: 30,
    device: NVME,
    driver: 'vfio-pci',
    command: node('figures.mjs'),
  },
  { boot: 'plain', path: 'all', what: 'bind, serve, unbind, as an operator does', seconds: 240, command: node('operator.mjs') },
  { boot: 'plain', path: 'sysfs', what: 'the contracts of backing and driver', seconds: 200, tests: 'test/contract/linux-sysfs.test.ts', skips: 6 },
  { boot: 'plain', path: 'uio', what: 'the contracts of backing and driver', seconds: 200, tests: 'test/contract/linux-uio.test.ts', skips: 4 },
  {
    boot: 'plain',
    path: 'vfio no-IOMMU',
    what: 'the contracts of backing and driver',
    seconds: 200,
    tests: 'test/contract/linux-vfio.test.ts',
    skips: 3,
  },
  { boot: 'plain', path: 'all', what: 'removal and re-plug (R24)', seconds: 120, tests: 'test/contract/linux-removal.test.ts' },
  { boot: 'plain', path: '-', what: 'pins hold against holders of the file', seconds: 30, tests: 'test/unit/linux/memory.test.ts' },
  { boot: 'plain', path: 'sysfs', what: 'pins hold against compaction and migration', seconds: 120, tests: 'test/contract/linux-pins.test.ts' },
  { boot: 'iommu', path: '-', what: 'the guest is what the tests expect', seconds: 20, command: node('smoke.mjs', '--iommu') },
  {
    boot: 'iommu',
    path: 'vfio IOMMU',
    what: 'bind, serve, unbind, as an operator does',
    seconds: 120,
    command: node('operator.mjs', '--iommu'),
  },
  {
    boot: 'iommu',
    path: 'vfio IOMMU',
    what: 'the contracts of backing and driver',
    seconds: 200,
    tests: 'test/contract/linux-vfio.test.ts',
    skips: 2,
  },
  { boot: 'iommu', path: 'vfio IOMMU', what: 'removal and re-plug (R24)', seconds: 60, tests: 'test/contract/linux-removal.test.ts' },
];

/** The rows of one boot whose path or words contain one of these; all, if there are none. */
export function rowsOf(boot, only = []) {
  return ROWS.filter((row) => row.boot === boot && (only.length === 0 || only.some((word) => `${row.path} ${row.what}`.includes(word))));
}
