/** How fast the controller of the guest is in the hands of a C program that has it for itself. No bar: the processor is emulated. */
import { execFileSync } from 'node:child_process';
import { NVME } from './devices.mjs';

const SECONDS = '2';

const { microseconds, perSecond } = JSON.parse(
  execFileSync('build/guest/nvme-queue', [NVME, SECONDS], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }),
);
console.log(`result: ${microseconds} us at depth 1 by interrupt, ${perSecond}/s at depth 32 by polling`);
