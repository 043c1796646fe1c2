import { beforeAll, describe } from 'vitest';
import { bindFor, hasPci, pciContract, pciName, pciShape, pciWorld } from '../support/pci.js';
import { backingContract } from './backing.js';
import { nvmeDriverContract } from './nvme-driver.js';

describe.skipIf(!hasPci)(pciName, () => {
  beforeAll(() => bindFor('uio'));
  backingContract('uio', pciWorld('uio'), pciContract('uio'));
  nvmeDriverContract('uio', pciWorld('uio'), [pciShape]);
});
