import { describe } from 'vitest';
import { hasPci, makePciWorld, pciName, pciPath, pciShape } from '../support/pci.js';
import { nvmeDriverContract } from './nvme-driver.js';

describe.skipIf(!hasPci)(pciName, () => {
  nvmeDriverContract(`Linux, ${pciPath ?? 'any path'}`, makePciWorld, [pciShape]);
});
