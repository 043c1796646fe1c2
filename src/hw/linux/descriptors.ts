/** Descriptors that are opened one after the other, and given back as a whole (R15). */
import { openSync } from 'node:fs';
import { deviceAddon } from '../../native/device.js';
import { shm } from '../../native/shm.js';
import { HardwareError } from '../task.js';
import { attempt, codeOf } from './errors.js';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'this user may not open it',
  EPERM: 'this process may not open it: it needs CAP_SYS_RAWIO and CAP_SYS_ADMIN',
  EBUSY: 'somebody else has it open',
};

export class Descriptors {
  readonly all: number[] = [];

  /** Keeps a descriptor that was opened elsewhere. */
  keep(fd: number): number {
    this.all.push(fd);
    return fd;
  }

  /** @throws HardwareError `busy` or `absent`, with the `advice`. */
  open(path: string, flags: number, advice: string): number {
    try {
      return this.keep(openSync(path, flags)); // Node adds O_CLOEXEC
    } catch (error) {
      const code = codeOf(error);
      throw new HardwareError(code === 'EBUSY' ? 'busy' : 'absent', `${path}: ${REASONS[code] ?? code}${advice === '' ? '' : `; ${advice}`}`);
    }
  }

  /** As `open`, but undefined where there is no such file. */
  openIfThere(path: string, flags: number): number | undefined {
    try {
      return this.keep(openSync(path, flags));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw new HardwareError('absent', `${path}: ${REASONS[codeOf(error)] ?? codeOf(error)}`);
    }
  }

  /** A socket on which the kernel tells of devices that go. */
  uevents(): number {
    return this.keep(deviceAddon().openUevents());
  }

  close(): void {
    for (const fd of this.all.toReversed()) attempt(() => shm().close(fd));
  }
}
