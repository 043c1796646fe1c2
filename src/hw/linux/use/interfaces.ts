/** Network interfaces that stand on a PCI function, and whether the machine uses them. */
import type { Machine } from '../machine.js';

/** IFF_UP of net_device.flags. */
const UP = 0x1;

/** Names of the interfaces below the function that this network name space sees. */
export function interfaces(machine: Machine, functionPath: string): string[] {
  return machine.names('sys/class/net').filter((name) => machine.real('sys/class/net', name)?.startsWith(`${functionPath}/`) === true);
}

/** Interfaces with an IPv4 route (the first column), and those with an IPv6 route to more than their own link (the last one). */
function routed(machine: Machine): Set<string> {
  const rows = (path: string): string[][] =>
    machine
      .text(path)
      ?.split('\n')
      .map((line) => line.trim().split(/\s+/)) ?? [];
  const ipv4 = rows('proc/net/route')
    .slice(1)
    .map(([name]) => name);
  const ipv6 = rows('proc/net/ipv6_route')
    .filter(([destination]) => !/^f(e8|f)/.test(destination ?? ''))
    .map((row) => row.at(-1) ?? '');
  return new Set([...ipv4, ...ipv6]);
}

/** What they are used for, each as a phrase; empty when all are down and nothing is built upon them. */
export function usesOfInterfaces(machine: Machine, names: readonly string[]): string[] {
  const routes = routed(machine);
  return names.flatMap((name) => {
    const above = machine.names('sys/class/net', name).flatMap((entry) => {
      const [, upper] = /^upper_(.+)$/.exec(entry) ?? [];
      return entry === 'master' ? [machine.linkName('sys/class/net', name, 'master') ?? entry] : (upper ?? []);
    });
    const isUp = ((machine.number('sys/class/net', name, 'flags') ?? 0) & UP) !== 0 || machine.text('sys/class/net', name, 'operstate') === 'up';
    const uses = [
      ...(routes.has(name) ? ['has a route'] : []),
      ...(isUp ? ['is up'] : []),
      ...(above.length > 0 ? [`is part of ${[...new Set(above)].join(', ')}`] : []),
    ];
    return uses.length === 0 ? [] : [`${name} ${uses.join(' and ')}`];
  });
}
