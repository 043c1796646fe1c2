/** Moving a function from one driver to another, in the manner of driverctl(8): an override says who may have it, then the kernel is asked to look again. */
import { NO_DRIVER, DRIVER_OF } from '../drivers.js';
import type { PciPath } from '../options.js';
import { PCI_DEVICES, readFunction, type PciFunction } from '../functions.js';
import type { Machine } from '../machine.js';
import { FunctionError } from '../error.js';
import type { Former } from './former.js';

/** One write to one file. */
export interface Step {
  /** Named from the root of the machine. */
  readonly file: string;
  readonly text: string;
}

const DRIVERS = 'sys/bus/pci/drivers';
const overrideTo = (address: string, name: string): Step => ({ file: `${PCI_DEVICES}/${address}/driver_override`, text: `${name}\n` });
const takeFrom = (address: string, driver: string): Step => ({ file: `${DRIVERS}/${driver}/unbind`, text: address });
const probe = (address: string): Step => ({ file: 'sys/bus/pci/drivers_probe', text: address });
const giveTo = (address: string, driver: string): Step => ({ file: `${DRIVERS}/${driver}/bind`, text: address });

/** From where the function is to where it shall be. */
export function stepsTo({ address, driver }: PciFunction, path: PciPath): Step[] {
  const wanted = DRIVER_OF[path];
  const steps = [overrideTo(address, wanted ?? NO_DRIVER)];
  if (driver === wanted) return steps;
  if (driver !== undefined) steps.push(takeFrom(address, driver));
  if (wanted !== undefined) steps.push(probe(address));
  return steps;
}

/** Back to where it was; with nothing remembered, to whichever driver the kernel finds. */
export function stepsBack({ address, driver }: PciFunction, former: Former | undefined): Step[] {
  // Empty writes never reach the kernel: a line end clears it.
  const steps = [overrideTo(address, former?.driverOverride ?? '')];
  if (former !== undefined && driver === former.driver) return steps;
  if (driver !== undefined) steps.push(takeFrom(address, driver));
  if (former === undefined) steps.push(probe(address));
  else if (former.driver !== undefined) steps.push(giveTo(address, former.driver));
  return steps;
}

/** As it would be typed. */
export const shellOf = ({ file, text }: Step): string => (text === '\n' ? `echo > /${file}` : `echo ${text.trim()} > /${file}`);

/** What to do where the kernel refuses a write, by its code. */
const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'run this as root',
  EPERM: 'run this as root',
  EBUSY: 'see who has the function: ringwarden status --devices',
  ENOENT: 'load the module of that driver (modprobe)',
  EROFS: 'run this on the host: /sys cannot be written to here',
};
const DEFAULT_REMEDY = 'see what the kernel says: dmesg | tail';

/** @throws FunctionError */
function perform(machine: Machine, address: string, steps: readonly Step[], expected: readonly (string | undefined)[] | undefined): void {
  for (const step of steps) {
    try {
      machine.write(step.text, step.file);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      throw new FunctionError('status', `the kernel refuses "${shellOf(step)}": ${code}`, REMEDIES[code] ?? DEFAULT_REMEDY);
    }
  }
  const { driver } = readFunction(machine, address);
  if (expected === undefined || expected.includes(driver)) return;
  const [wanted] = expected;
  const what = wanted === undefined ? `driver ${driver} keeps ${address}` : `driver ${wanted} does not take ${address}`;
  throw new FunctionError('status', what, DEFAULT_REMEDY);
}

/**
 * Takes all steps, after which one of the `expected` drivers has the function (left out: any). When that fails, it is put back to where it was `before`, and then
 * `undone` is called. @throws FunctionError why it failed, and also why it could not be put back, if so.
 */
export function move(
  machine: Machine,
  address: string,
  steps: readonly Step[],
  before: Former,
  expected: readonly (string | undefined)[] | undefined,
  undone?: () => void,
): void {
  try {
    perform(machine, address, steps, expected);
  } catch (error) {
    try {
      perform(machine, address, stepsBack(readFunction(machine, address), before), [before.driver]);
    } catch (second) {
      const remedy = `ringwarden unbind ${address}`;
      throw new FunctionError('status', `${messageOf(error)}; and it could not be put back: ${messageOf(second)}`, remedy);
    }
    undone?.();
    throw error;
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
