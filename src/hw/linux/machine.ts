/**
 * The files in which Linux tells of its devices, and by which they are moved: sysfs, procfs and /dev, below one root. Tests run on a made-up tree.
 *
 * What cannot be read counts as not there: a device may go while it is looked at. Writes throw.
 */
import { closeSync, constants, openSync, readFileSync, readdirSync, readlinkSync, realpathSync, writeSync } from 'node:fs';
import { basename, join } from 'node:path';

export class Machine {
  readonly root: string;

  constructor(root = '/') {
    this.root = root;
  }

  /** Absolute path of a file of this machine, which is named from its root, such as `sys/bus/pci/devices`. */
  path(...parts: readonly string[]): string {
    return join(this.root, ...parts);
  }

  /** The text of a file without its last line end. */
  text(...parts: readonly string[]): string | undefined {
    return orNothing(() => readFileSync(this.path(...parts), 'utf8').replace(/\n$/, ''));
  }

  /** A file that holds one whole number, decimal or with `0x`. */
  number(...parts: readonly string[]): number | undefined {
    const text = this.text(...parts)?.trim() ?? '';
    return /^(?:0x[0-9a-f]+|-?[0-9]+)$/i.test(text) ? Number(text) : undefined;
  }

  /** Names in a folder, sorted; none when it is not there. */
  names(...parts: readonly string[]): string[] {
    return (orNothing(() => readdirSync(this.path(...parts))) ?? []).sort();
  }

  /** What a symbolic link says. */
  link(...parts: readonly string[]): string | undefined {
    return orNothing(() => readlinkSync(this.path(...parts)));
  }

  /** Name of what a symbolic link leads to. */
  linkName(...parts: readonly string[]): string | undefined {
    const link = this.link(...parts);
    return link === undefined ? undefined : basename(link);
  }

  /** The path without links, below the root as every other. */
  real(...parts: readonly string[]): string | undefined {
    return orNothing(() => realpathSync(this.path(...parts)));
  }

  has(...parts: readonly string[]): boolean {
    return this.real(...parts) !== undefined;
  }

  /** One write to a file that is there: sysfs takes each as one order. @throws an Error of the system. */
  write(text: string, ...parts: readonly string[]): void {
    // Neither made nor cut: many of these files cannot be read, and none has a length.
    const fd = openSync(this.path(...parts), constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  }
}

function orNothing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
