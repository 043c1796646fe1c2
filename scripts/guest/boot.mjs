/**
 * One boot of the guest, from the start of QEMU to its end.
 *
 * The guest and the machine share one folder. `events` grows by a JSON object a line: what the guest's runner is doing. A test in the guest that wants
 * something of QEMU writes requests/NAME.json ({execute, arguments}) and finds QEMU's answer in answers/NAME.json.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { writeInitramfs } from './initramfs.mjs';
import { disksIn, qemuArguments } from './machine.mjs';
import { Qmp } from './qmp.mjs';

const INIT = join(import.meta.dirname, '../../test/guest/init.sh');
/** The image of an expansion ROM, which no machine would run. */
const COMPILED_ROM = join(import.meta.dirname, '../../build/guest/test/support/rom.js');
const ROM_BYTES = 4096;
const LOOK_MS = 50;
/** isa-debug-exit ends QEMU with 2 * status + 1. A kernel that panicked ends it with 0, which is why 0 is no success. */
const SUCCESS = 1;

/** Prepares a folder for one boot: what is run in the guest, at the end of which the guest ends, and what it finds in guest.json. */
export function prepareFolder(folder, cwd, command, facts) {
  const share = join(folder, 'share');
  for (const path of [folder, share, join(share, 'requests'), join(share, 'answers'), join(share, 'logs')]) mkdirSync(path);
  const start = join(share, 'start');
  writeFileSync(
    start,
    `#!/bin/sh\nexport PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8\ncd ${quoted(cwd)} && exec ${command.map(quoted).join(' ')}\n`,
  );
  chmodSync(start, 0o755);
  writeFileSync(join(share, 'events'), '');
  writeFileSync(join(share, 'guest.json'), JSON.stringify(facts));
  return share;
}

const quoted = (word) => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * Boots, and waits for the end. `heard` is told of each event of the guest. Resolves to why it failed, or undefined.
 * @param deadline seconds after which the guest is taken for hung, and killed
 */
export async function boot({ kernel, folder, hasIommu, deadline, heard }) {
  const share = join(folder, 'share');
  const initramfs = join(folder, 'initramfs.cpio');
  writeInitramfs(kernel, INIT, initramfs);
  const rom = join(folder, 'rom');
  const { romImage } = await import(COMPILED_ROM);
  writeFileSync(rom, romImage(ROM_BYTES));
  const disks = disksIn(folder);
  for (const { file, bytes } of disks) {
    closeSync(openSync(file, 'w'));
    truncateSync(file, bytes);
  }
  const args = qemuArguments({ hasIommu, vmlinux: join(kernel, 'vmlinux'), initramfs, share, console: join(folder, 'console'), rom, disks });
  // QEMU dies with this process, whatever happens to it.
  const qemu = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...args], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let words = '';
  qemu.stderr.setEncoding('utf8').on('data', (text) => (words = (words + text).slice(-4096)));
  let ended;
  qemu.once('close', (status, signal) => (ended = { status, signal }));
  const events = new Events(join(share, 'events'), heard);
  const requests = new Requests(share, new Qmp(qemu.stdio[3]));
  const end = performance.now() + deadline * 1000;
  let isHung = false;
  while (ended === undefined) {
    await delay(LOOK_MS);
    events.look();
    requests.look();
    if (isHung || performance.now() < end) continue;
    isHung = true;
    qemu.kill('SIGKILL');
  }
  events.look();
  for (const { file } of disks) rmSync(file);
  if (isHung) return `the guest did not end within ${deadline} s, and was killed`;
  if (ended.status === SUCCESS) return undefined;
  if (ended.status === 0) return 'the guest panicked, or ended before its tests did';
  if (words !== '' || ended.signal !== null) return `QEMU ended (${ended.signal ?? `status ${ended.status}`}): ${words.trim()}`;
  return `the guest ended with status ${(ended.status - 1) / 2}`;
}

/** Whole lines of a file that grows. */
class Events {
  #file;
  #heard;
  #read = 0;

  constructor(file, heard) {
    this.#file = file;
    this.#heard = heard;
  }

  look() {
    if (statSync(this.#file).size <= this.#read) return;
    const text = readFileSync(this.#file).subarray(this.#read);
    const whole = text.lastIndexOf('\n') + 1;
    this.#read += whole;
    for (const line of text.toString('utf8', 0, whole).split('\n').filter(Boolean)) this.#heard(JSON.parse(line));
  }
}

/** What the guest asks of QEMU. */
class Requests {
  #share;
  #qmp;

  constructor(share, qmp) {
    this.#share = share;
    this.#qmp = qmp;
  }

  look() {
    for (const name of readdirSync(join(this.#share, 'requests'))) {
      if (!name.startsWith('.')) void this.#answer(name);
    }
  }

  async #answer(name) {
    const request = join(this.#share, 'requests', name);
    const { execute, arguments: args } = JSON.parse(readFileSync(request, 'utf8'));
    rmSync(request);
    const answer = await this.#qmp.execute(execute, args);
    const written = join(this.#share, 'answers', `.${name}`);
    // Appears whole; the guest may have ended, and the folder with it.
    if (!existsSync(this.#share)) return;
    writeFileSync(written, JSON.stringify(answer));
    renameSync(written, join(this.#share, 'answers', name));
  }
}
