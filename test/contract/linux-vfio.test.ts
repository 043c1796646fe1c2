import { beforeAll, describe } from 'vitest';
import { bindFor, hasPci, lineWorld, pciContract, pciName, pciShape, pciWorld } from '../support/pci.js';
import { backingContract } from './backing.js';
import { nvmeDriverContract } from './nvme-driver.js';

describe.skipIf(!hasPci)(pciName, () => {
  beforeAll(() => bindFor('vfio'));
  backingContract('vfio', pciWorld('vfio'), pciContract('vfio'));
  backingContract('vfio, INTx', lineWorld, { ...pciContract('vfio'), interrupts: 'line' });
  nvmeDriverContract('vfio', pciWorld('vfio'), [pciShape]);
});
