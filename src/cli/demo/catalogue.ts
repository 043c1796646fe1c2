/** Every attack, group by group, in the order in which they are shown. */
import { blockAttacks } from './attacks/blocks.js';
import { controlAttacks } from './attacks/control.js';
import { handoverAttacks } from './attacks/handover.js';
import { identityAttacks } from './attacks/identity.js';
import { memoryAttacks } from './attacks/memory.js';
import { pciAttacks } from './attacks/pci.js';
import { ringAttacks } from './attacks/rings.js';
import { wireAttacks } from './attacks/wire.js';
import type { Attack } from './types.js';

export const CATALOGUE: readonly Attack[] = [
  ...memoryAttacks,
  ...blockAttacks,
  ...controlAttacks,
  ...pciAttacks,
  ...ringAttacks,
  ...handoverAttacks,
  ...identityAttacks,
  ...wireAttacks,
];
