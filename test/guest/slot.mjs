/**
 * The slot of the guest, whose controller can be taken out and put back.
 *
 * Hot-plug as PCI Express has it (PCI Express Base Specification 4.0, 6.7 and 7.5.3.10, 7.5.3.11), which QEMU's root port models.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { SLOT_NVME, SLOT_PORT, slotDevice } from './devices.mjs';
import { SHARE } from './events.mjs';
import { until } from './until.mjs';

const FUNCTION = `/sys/bus/pci/devices/${SLOT_NVME}`;
const CAPABILITIES = 0x34;
const EXPRESS = 0x10;
/** Slot Control in the capability; in it: both indicators off, and the power. */
const SLOT_CONTROL = 0x18;
const ALL_OFF = 0x07c0;
/** The port tells the kernel that the slot is empty. The kernel leaves this off where there is a button. */
const TELLS_PRESENCE = 0x0008;

/** For a second after it switched a slot off, the kernel takes no notice of what happens there (pciehp, remove_board). */
const LOOKS_AWAY_MS = 1500;

let asked = 0;

/** QEMU's answer to a command of its machine protocol: {return} or {error}. The machine passes it on (scripts/guest/boot.mjs). */
async function askQemu(execute, args) {
  const name = `${process.pid}-${asked++}.json`;
  const answer = `${SHARE}/answers/${name}`;
  writeFileSync(`${SHARE}/requests/.${name}`, JSON.stringify({ execute, arguments: args }));
  renameSync(`${SHARE}/requests/.${name}`, `${SHARE}/requests/${name}`);
  await until(`QEMU's answer to ${execute}`, () => existsSync(answer));
  const result = JSON.parse(readFileSync(answer, 'utf8'));
  rmSync(answer);
  return result;
}

/** Whether the kernel knows the controller. */
export const isPlugged = () => existsSync(FUNCTION);

/** Somebody presses the slot's button: the kernel lets go of the function, some five seconds later, and the device goes. Resolves when the request is made. */
export async function pressButton() {
  const { error } = await askQemu('device_del', { id: slotDevice.id });
  if (error !== undefined) throw new Error(error.desc);
}

/** Pulls the controller out without a word to the kernel. It is gone when this returns; the kernel finds that out by itself. */
export function pull() {
  const port = openSync(`/sys/bus/pci/devices/${SLOT_PORT}/config`, 'r+');
  try {
    const control = expressCapability(port) + SLOT_CONTROL;
    const before = read16(port, control);
    // QEMU takes the device away when the slot's power goes off; the kernel is told when it is on again, and finds the slot empty.
    write16(port, control, before | ALL_OFF);
    write16(port, control, before | TELLS_PRESENCE);
  } finally {
    closeSync(port);
  }
}

function read16(port, offset) {
  const bytes = Buffer.alloc(2);
  readSync(port, bytes, 0, 2, offset);
  return bytes.readUInt16LE();
}

function write16(port, offset, value) {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  writeSync(port, bytes, 0, 2, offset);
}

function expressCapability(port) {
  let at = read16(port, CAPABILITIES) & 0xff;
  while (at !== 0 && (read16(port, at) & 0xff) !== EXPRESS) at = read16(port, at) >> 8;
  if (at === 0) throw new Error(`${SLOT_PORT} is no port of PCI Express`);
  return at;
}

/** Resolves when the kernel has taken the function off its list. */
export const untilGone = () => until(`${SLOT_NVME} gone`, () => !isPlugged());

/** Puts the controller back. Resolves when the kernel has found it. */
export async function plug() {
  // While QEMU still takes the earlier one apart, its name is taken.
  await until(
    'the device out of QEMU',
    async () => (await askQemu('qom-list', { path: `/machine/peripheral/${slotDevice.id}` })).error !== undefined,
  );
  await delay(LOOKS_AWAY_MS);
  const { error } = await askQemu('device_add', slotDevice);
  if (error !== undefined) throw new Error(error.desc);
  await until(`${SLOT_NVME} there`, isPlugged);
}
