/** Whether QEMU is on this machine; tests that need it are skipped visibly otherwise. */
import { spawnSync } from 'node:child_process';

export const hasQemu = spawnSync('qemu-system-x86_64', ['--version']).status === 0;

/** For the names of suites: says what to install where QEMU is absent. */
export const qemuName = hasQemu ? 'QEMU' : 'QEMU (skipped: apt-get install qemu-system-x86)';
