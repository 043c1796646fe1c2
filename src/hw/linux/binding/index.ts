/** Taking a PCI function from its driver for programs, and giving it back. */
import { parseAddress } from '../address.js';
import { DRIVER_OF, isForPrograms } from '../drivers.js';
import type { PciPath } from '../options.js';
import { readFunction } from '../functions.js';
import type { Machine } from '../machine.js';
import { FunctionError } from '../error.js';
import type { Former, Formers } from './former.js';
import { choose, notesOn, refuseClass, refuseUses, requirePrivilege } from './judge.js';
import { move, shellOf, stepsBack, stepsTo } from './steps.js';

export { FORMER_FILE, Formers } from './former.js';

export interface BindOptions {
  /** The way that is wanted; by default the best that this machine has. */
  readonly to?: PciPath | undefined;
  /** Takes a network interface that is in use, and a function that nothing here can drive. Never a disk in use. */
  readonly force?: boolean | undefined;
  /** Judges, and changes nothing. */
  readonly dryRun?: boolean | undefined;
}

export interface Moved {
  readonly address: string;
  /** Driver before, and after. */
  readonly from: string | undefined;
  readonly driver: string | undefined;
  /** What was written, or with a dry run would be, as commands. */
  readonly steps: readonly string[];
}

export interface Bound extends Moved {
  readonly path: PciPath;
  /** What the operator should know: why it is not a better way, and what is not there yet. */
  readonly notes: readonly string[];
}

/**
 * Binds a function to the driver of a path. Either it is bound then, or it is as it was before.
 * @throws FunctionError
 */
export function bind(machine: Machine, formers: Formers, text: string, options: BindOptions = {}): Bound {
  const subject = readFunction(machine, parseAddress(text));
  const { address, driver: from, driverOverride } = subject;
  const force = options.force === true;
  refuseUses(machine, subject, force ? ['bridge', 'disk', 'open'] : undefined);
  if (!force) refuseClass(subject);
  const path = choose(machine, subject, options.to);
  const steps = stepsTo(subject, path);
  const bound: Bound = {
    address,
    path,
    from,
    driver: DRIVER_OF[path],
    steps: steps.map(shellOf),
    notes: notesOn(machine, subject, path, options.to),
  };
  requirePrivilege(machine, address, `bind ${address}`);
  if (options.dryRun === true) return bound;
  formers.alone(() => {
    const before: Former = { driver: from, driverOverride };
    // Moved from one path to another, it still goes back to where it came from.
    const isFirst = !isForPrograms(subject) || formers.of(address) === undefined;
    if (isFirst) formers.remember(address, before);
    move(machine, address, steps, before, [bound.driver], () => {
      if (isFirst) formers.forget(address);
    });
  });
  return bound;
}

/** Gives a function back to the driver that had it, or, if nobody remembers, to the one that the kernel chooses. @throws FunctionError */
export function unbind(machine: Machine, formers: Formers, text: string, options: Pick<BindOptions, 'dryRun'> = {}): Moved {
  const subject = readFunction(machine, parseAddress(text));
  const { address, driver: from, driverOverride } = subject;
  const former = formers.of(address);
  if (former === undefined && !isForPrograms(subject)) {
    const what = from === undefined ? 'no driver was taken from it' : `driver ${from} has it`;
    throw new FunctionError('unsupported', `${address} is not bound for programs: ${what}`, 'see "ringwarden status --devices"');
  }
  // The kernel would wait until they have closed it.
  refuseUses(machine, subject, ['disk', 'open']);
  const steps = stepsBack(subject, former);
  requirePrivilege(machine, address, `unbind ${address}`);
  const moved = { address, from, driver: former?.driver, steps: steps.map(shellOf) };
  if (options.dryRun === true) return moved;
  formers.alone(() => {
    move(machine, address, steps, { driver: from, driverOverride }, former && [former.driver]);
    formers.forget(address);
  });
  return { ...moved, driver: readFunction(machine, address).driver };
}
