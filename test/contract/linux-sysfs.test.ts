import { beforeAll, describe } from 'vitest';
import { bindFor, hasPci, pciContract, pciName, pciShape, pciWorld } from '../support/pci.js';
import { backingContract } from './backing.js';
import { nvmeDriverContract } from './nvme-driver.js';

describe.skipIf(!hasPci)(pciName, () => {
  beforeAll(() => bindFor('sysfs'));
  backingContract('sysfs', pciWorld('sysfs'), pciContract('sysfs'));
  nvmeDriverContract('sysfs', pciWorld('sysfs'), [pciShape]);
});
