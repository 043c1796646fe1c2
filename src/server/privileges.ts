/** What the server's process may still do to the machine: given up once everything is open, and told to the administrator as the kernel sees it. */
import { readFileSync, readdirSync } from 'node:fs';
import { readFunction } from '../hw/linux/functions.js';
import { Machine } from '../hw/linux/machine.js';
import { Capability, capabilitiesFor, type CapabilityName } from '../hw/linux/privilege.js';
import { shm } from '../native/shm.js';
import type { Configuration } from './config/index.js';
import type { Log } from './log.js';

/** What the kernel's settings allow the process, over all its threads. */
export interface Privileges {
  readonly uid: number;
  /** Names, or numbers of those that no server needs. */
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  /** Whether the kernel refuses system calls that a running server never makes. */
  readonly filter: boolean;
  /** Threads that kept more, because they take no signals: Node has one that only waits for SIGUSR1. */
  readonly unreached: number;
}

/**
 * Gives up what a running server does not need, on all threads and for good. CAP_SYS_PTRACE stays where the process has it: `ringwarden mappings` reads the mappings of
 * other users' processes with it, and the system calls that change another process are forbidden all the same. A function that is pulled out and put in again is opened
 * again, which takes what it took the first time.
 */
export function giveUpPrivileges({ devices }: Configuration, log: Log, machine = new Machine()): void {
  const functions = devices.flatMap(({ backing }) => (backing.kind === 'pci' ? [backing] : []));
  const names = new Set<CapabilityName>(['CAP_SYS_PTRACE', ...functions.flatMap(({ address }) => capabilitiesFor(readFunction(machine, address)))]);
  const bits = [...names].reduce((sum, name) => sum + 2 ** Capability[name], 0);
  const startsPrograms = devices.some(({ backing }) => backing.kind === 'qemu');
  const { filter } = shm().confine(bits, startsPrograms, functions.length > 0);
  if (!filter) log.warn('the kernel does not filter system calls: this process may start programs and change the machine, as far as its user may');
}

const nameOf = (number: number): string => Object.entries(Capability).find(([, each]) => each === number)?.[0] ?? `capability ${number}`;

function capabilitiesOf(hex: string): string[] {
  const bits = BigInt(`0x${hex}`);
  return Array.from({ length: 64 }, (_, number) => number).flatMap((number) => (((bits >> BigInt(number)) & 1n) === 1n ? [nameOf(number)] : []));
}

/** Fields of /proc/PID/status (proc(5)). */
function statusOf(path: string): (name: string) => string {
  const text = readFileSync(path, 'utf8');
  return (name) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
}

/** As it is now. */
export function readPrivileges(): Privileges {
  const field = statusOf('/proc/self/status');
  const permitted = field('CapPrm');
  const threads = readdirSync('/proc/self/task').flatMap((thread) => {
    try {
      return [statusOf(`/proc/self/task/${thread}/status`)('CapPrm')];
    } catch {
      return []; // it has ended
    }
  });
  return {
    uid: Number(field('Uid')),
    capabilities: capabilitiesOf(permitted),
    noNewPrivileges: field('NoNewPrivs') === '1',
    filter: field('Seccomp') === '2',
    unreached: threads.filter((each) => each !== permitted).length,
  };
}
