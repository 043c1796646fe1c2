/**
 * The slot of the guest, whose controller can be taken out and put back.
 *
 * Hot-plug as PCI Express has it (PCI Express Base Specification 4.0, 6.7 and 7.5.3.10, 7.5.3.11), which QEMU's root port models.
 */
import { closeSync, existsSync, openSync, readFileSync, readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { SHARE, guest } from './guest.js';
import { until } from './until.js';

const { address, port, device } = guest.devices.slot;
const FUNCTION = `/sys/bus/pci/devices/${address}`;
const CAPABILITIES = 0x34;
const EXPRESS = 0x10;
/** Slot Control in the capability; in it: both indicators off, and the power. */
const SLOT_CONTROL = 0x18;
const ALL_OFF = 0x07c0;
/** The port tells the kernel that the slot is empty. The kernel leaves this off where there is a button. */
const TELLS_PRESENCE = 0x0008;
const INTERRUPTS = 0x0020;
/** The power indicator, and what it shows when the kernel has done with switching the slot on. */
const POWER_INDICATOR = 0x0300;
const SHINES = 0x0100;

/** For a second after it switched a slot off, the kernel takes no notice of what happens there (pciehp, remove_board). */
const LOOKS_AWAY_MS = 1500;

let asked = 0;

interface Answer {
  readonly error?: { readonly desc: string };
}

/** QEMU's answer to a command of its machine protocol: {return} or {error}. The machine passes it on (scripts/guest/boot.mjs). */
async function askQemu(execute: string, args: object): Promise<Answer> {
  const name = `${process.pid}-${asked++}.json`;
  const answer = `${SHARE}/answers/${name}`;
  writeFileSync(`${SHARE}/requests/.${name}`, JSON.stringify({ execute, arguments: args }));
  renameSync(`${SHARE}/requests/.${name}`, `${SHARE}/requests/${name}`);
  await until(`QEMU's answer to ${execute}`, () => existsSync(answer));
  const result = JSON.parse(readFileSync(answer, 'utf8')) as Answer;
  rmSync(answer);
  return result;
}

/** Whether the kernel knows the controller. */
export const isPlugged = (): boolean => existsSync(FUNCTION);

/** Somebody presses the slot's button: the kernel lets go of the function, some five seconds later, and the device goes. Resolves when the request is made. */
export async function pressButton(): Promise<void> {
  const { error } = await askQemu('device_del', { id: device.id });
  if (error !== undefined) throw new Error(error.desc);
}

/** Pulls the controller out without a word to the kernel. It is gone when this returns; the kernel finds that out by itself. */
export function pull(): void {
  withControl((config, control) => {
    const before = read16(config, control);
    // QEMU takes the device away when the slot's power goes off. The kernel is told when it is on again, and not before: it leaves alone what has no power.
    write16(config, control, (before & ~INTERRUPTS) | ALL_OFF);
    write16(config, control, before | TELLS_PRESENCE);
  });
}

/** With the port's configuration space, and where its Slot Control is. */
function withControl<T>(use: (config: number, control: number) => T): T {
  const config = openSync(`/sys/bus/pci/devices/${port}/config`, 'r+');
  try {
    return use(config, expressCapability(config) + SLOT_CONTROL);
  } finally {
    closeSync(config);
  }
}

function read16(config: number, offset: number): number {
  const bytes = Buffer.alloc(2);
  readSync(config, bytes, 0, 2, offset);
  return bytes.readUInt16LE();
}

function write16(config: number, offset: number, value: number): void {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  writeSync(config, bytes, 0, 2, offset);
}

function expressCapability(config: number): number {
  let at = read16(config, CAPABILITIES) & 0xff;
  while (at !== 0 && (read16(config, at) & 0xff) !== EXPRESS) at = read16(config, at) >> 8;
  if (at === 0) throw new Error(`${port} is no port of PCI Express`);
  return at;
}

/** Resolves when the kernel has taken the function off its list. */
export const untilGone = (): Promise<void> => until(`${address} gone`, () => !isPlugged());

/** Puts the controller back. Resolves when the kernel has found it and has done with the slot. */
export async function plug(): Promise<void> {
  // While QEMU still takes the earlier one apart, its name is taken.
  await until('the device out of QEMU', async () => (await askQemu('qom-list', { path: `/machine/peripheral/${device.id}` })).error !== undefined);
  await delay(LOOKS_AWAY_MS);
  const { error } = await askQemu('device_add', device);
  if (error !== undefined) throw new Error(error.desc);
  await until(`${address} there`, () => isPlugged() && withControl((config, control) => (read16(config, control) & POWER_INDICATOR) === SHINES));
}
