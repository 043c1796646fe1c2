/** `ringwarden mappings`: from a mapping of a process to tenant, device and lease. */
import { Command } from 'commander';
import { adminGet } from './admin-client.js';
import { outputOption, withAdmin } from './options.js';
import type { AdminOptions, OutputOptions } from './options.js';
import { json, print, table } from './output.js';
import type { Cell } from './output.js';

interface Mapping {
  readonly start: string;
  readonly end: string;
  readonly permissions: string;
  readonly path: string;
  readonly state: string;
  readonly what?: string;
  readonly tenant?: string;
  readonly domain?: number;
  readonly region?: number;
  readonly queue?: number;
  readonly leases?: readonly { readonly device: string; readonly lease: number; readonly session: number }[];
}

const MAPPING_HEADINGS = ['ADDRESS', 'ACCESS', 'FILE', 'STATE', 'WHAT', 'TENANT', 'DEVICE', 'LEASE', 'QUEUE', 'REGION'];

const mappingRow = ({ start, end, permissions, path, state, what, tenant, leases = [], queue, region }: Mapping): Cell[] => [
  `${start}-${end}`,
  permissions,
  path.replace(/^\/memfd:/, ''),
  state,
  what ?? '',
  tenant ?? '',
  leases.map(({ device }) => device).join(', '),
  leases.map(({ lease }) => lease).join(', '),
  queue ?? '',
  region ?? '',
];

export const mappingsCommand = (): Command =>
  withAdmin(new Command('mappings'))
    .description('memory files that a process maps: what this server gave out, to which tenant, for which device and lease')
    .argument('<process>', 'process id')
    .argument('[address]', 'only the one at this address, in hexadecimal')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  ringwarden mappings 4711\n  ringwarden mappings 4711 7f52c8e00000 -o json')
    .action(async (process: string, address: string | undefined, options: AdminOptions & OutputOptions) => {
      const path = [process, address].flatMap((part) => (part === undefined ? [] : [encodeURIComponent(part)])).join('/');
      const answer = await adminGet<Mapping | readonly Mapping[]>(options, `/mappings/${path}`);
      if (options.output === 'json') return print(json(answer));
      const all = [answer].flat();
      return print(all.length === 0 ? `process ${process} maps no memory file` : await table(MAPPING_HEADINGS, all.map(mappingRow)));
    });
