/** How fast the controller of the guest is in the hands of a C program that has it for itself. No bar: the processor is emulated. */
import { execFileSync } from 'node:child_process';
import { bindFor } from '../support/pci.js';
import { guest } from './guest.js';

const SECONDS = '2';

bindFor('vfio', guest.devices.nvme);
const output = execFileSync('build/guest/nvme-queue', [guest.devices.nvme, SECONDS], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
const { microseconds, perSecond } = JSON.parse(output) as { microseconds: number; perSecond: number };
console.log(`result: ${microseconds} us at depth 1 by interrupt, ${perSecond}/s at depth 32 by polling`);
