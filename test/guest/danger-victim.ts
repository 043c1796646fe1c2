/** Somebody's process, which has nothing to do with any device: prints where a page of its lies in physical memory; for each line that it reads, what is in the page. */
import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { deviceAddon } from '../../src/native/device.js';
import { shm } from '../../src/native/shm.js';

const PAGE = 4096;
const buffer = shm().map(shm().memfdCreate('victim', PAGE), 0, PAGE, true);
const page = Buffer.from(buffer).fill('mine ');
const [low, high] = [new Uint32Array(1), new Uint32Array(1)];
deviceAddon().locatePages(buffer, openSync('/proc/self/pagemap', 'r'), low, high);
console.log(`at ${(BigInt(high[0]) << 32n) | BigInt(low[0])}`);
createInterface({ input: process.stdin }).on('line', () => console.log(`holds ${page.toString('hex', 0, 64)}`));
