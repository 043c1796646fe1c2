import { describe } from 'vitest';
import { hasPci, makePciWorld, pciHasIommu, pciName, pciPath } from '../support/pci.js';
import { backingContract } from './backing.js';

const INTERRUPTS = { vfio: 'messages', uio: 'line', sysfs: 'none' } as const;

describe.skipIf(!hasPci)(pciName, () => {
  backingContract(`Linux, ${pciPath ?? 'any path'}`, makePciWorld, {
    autonomous: true,
    interrupts: INTERRUPTS[pciPath ?? 'vfio'],
    confines: pciHasIommu,
  });
});
