/** What an operator does to have a PCI function shared: a configuration with a window for each of three tenants, and `ringwarden bind`. */
import { execFileSync } from 'node:child_process';
import { expect } from 'vitest';
import type { Workspace } from '../support/processes.js';
import { WINDOW_BYTES, configuration, tenant } from '../support/server.js';

export const pciConfiguration = (address: string, path: string): ReturnType<typeof configuration> =>
  configuration({
    tenants: ['alice', 'bob', 'carol'].map((name, index) => tenant(name, index * WINDOW_BYTES, {}, { modes: ['shared', 'exclusive'] })),
    devices: [{ name: 'nvme0', backing: { kind: 'pci', address, path } }],
  });

/** For the command line: whose the data on the controller are, nobody knows. */
export const KEEP = { args: ['--unknown-data', 'keep'] };

/** Binds the function. Where something is missing for that, does first what the command says, as it stands there. Returns what it said, if it did. */
export async function bindAsTold(space: Workspace, address: string, path: string): Promise<string | undefined> {
  const command = ['bind', address, '--to', path];
  const first = await space.ringwarden(command);
  if (first.status === 0) return undefined;
  const remedy = /^ *do: (.*)$/m.exec(first.stderr)?.[1];
  expect(remedy, first.stderr).toBeDefined();
  execFileSync('sh', ['-c', remedy ?? '']);
  const second = await space.ringwarden(command);
  expect(second.status, second.stderr).toBe(0);
  return first.stderr;
}
