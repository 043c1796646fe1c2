/**
 * A client that is given shared memory and tries what it may not do: `attacker.mjs SOCKET TENANT ATTACK`, beside session.mjs. ATTACK is the compiled
 * attack.cc. Prints its lines, then what a flush on the ring came to, as JSON.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { shm } from './dist/native/shm.js';
import { fetch, open } from './session.mjs';

const [path, tenant, attack, stolen] = process.argv.slice(2);
if (stolen !== undefined) {
  const { status, descriptors } = await fetch(Buffer.from(stolen, 'hex'), `${path}.fds`, 2);
  console.log(JSON.stringify({ status, descriptors: descriptors.length }));
  process.exit();
}

const { socket, call } = await open(path, tenant);
const { lease, generation } = await call('openDevice', { device: 'nvme0', mode: 'shared', queues: 'own' });
const { queue, requestBytes, completionBytes } = await call('openQueue', { lease, entries: 16 });
const { region } = await call('mapMemory', { bytes: 4096 });
const rings = await call('shareQueue', { lease, queue });
const { descriptors, connection } = await fetch(rings.ticket, rings.path, 2);
const shared = await call('shareRegion', { region });
const { descriptors: [memory] } = await fetch(shared.ticket, shared.path, 1); // prettier-ignore

const child = spawn(attack, [], { stdio: ['pipe', 'pipe', 'inherit', ...descriptors, memory] });
let said = '';
child.stdout.setEncoding('utf8').on('data', (text) => (said += text));
while (!said.includes('mapped')) await turn();
await call('sealRegion', { region });
child.stdin.end('go\n');
await once(child, 'close');

// After all of it the queue works: a flush.
const requests = new DataView(shm().map(descriptors[0], 0, requestBytes, true));
const completions = new DataView(shm().map(descriptors[1], 0, completionBytes, false));
requests.setUint8(4096, 3);
requests.setUint32(4100, generation, true);
requests.setUint32(4140, lease, true);
requests.setUint16(4144, queue, true);
Atomics.store(new Int32Array(requests.buffer), 0, 1);
shm().send(connection, Buffer.of(1), 0, 1);
while (Atomics.load(new Int32Array(completions.buffer), 16) !== 1) await turn();

// And the completion ring is taken away, unless this user could have it back.
shm().guard(completions.buffer);
await call('closeQueue', { lease, queue });
const left = Atomics.load(new Int32Array(completions.buffer), 16);
console.log(JSON.stringify({ attempts: said.trim().split('\n').slice(1), code: completions.getUint16(4104, true), left }));
socket.terminate();
