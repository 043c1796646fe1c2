/**
 * A client that is shown the hardware's rings and tries what it may not do: `view-attacker.mjs SOCKET TENANT ATTACK`, beside session.mjs. ATTACK is the compiled
 * attack.cc. Prints its lines, and what the files came to, as JSON. With `ticket` at the end it
 * prints a ticket for the view instead, and waits for the end of its input.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync } from 'node:fs';
import { shm } from './dist/native/shm.js';
import { fetch, open } from './session.mjs';

const [path, tenant, attack, mode] = process.argv.slice(2);
const { socket, call } = await open(path, tenant);
const { lease } = await call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own', ringViews: true });
const { queue } = await call('openQueue', { lease, entries: 16 });
const view = await call('viewQueue', { lease, queue });
if (mode === 'ticket') {
  console.log(Buffer.from(view.ticket).toString('hex'));
  await once(process.stdin.resume(), 'end');
  process.exit();
}
const { descriptors } = await fetch(view.ticket, view.path, 2);

const child = spawn(attack, ['submissions', 'completions'], { stdio: ['ignore', 'pipe', 'inherit', ...descriptors] });
let said = '';
child.stdout.setEncoding('utf8').on('data', (text) => (said += text));
await once(child, 'close');

// After all of it the hardware goes on writing: the resets of a lease make new rings, and an event descriptor of ours hears of nothing.
const words = new Uint32Array(shm().map(descriptors[1], 0, view.completion.bytes, false));
shm().guard(words.buffer);
const eventfd = await call('bindEventfd', { lease, vector: 0, source: 'server' });
const bound = await fetch(eventfd.ticket, eventfd.path, 1);
await call('closeQueue', { lease, queue });
const sizes = descriptors.map((fd) => fstatSync(fd).size);
console.log(JSON.stringify({ attempts: said.trim().split('\n'), bound: bound.status, sizes, first: words[3] }));
socket.terminate();
