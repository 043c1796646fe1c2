/** `ringwarden list` and `ringwarden show`: what a tenant may use; and, with `--admin`, what a device is. */
import { Command, Option } from 'commander';
import type { DeviceInfo, ShareInfo } from '../protocol/index.js';
import { formatSize, printable } from '../server/text.js';
import { adminGet } from './admin-client.js';
import { CliError, Exit } from './failure.js';
import { outputOption, withAdmin, withClient, withConnection } from './options.js';
import type { AdminOptions, ConnectionOptions, OutputOptions } from './options.js';
import { facts, json, print, styled, table } from './output.js';
import type { Cell } from './output.js';

const RIGHTS = { read: 'r', write: 'w' } as const;
const access = (share: ShareInfo): string => share.access.map((right) => RIGHTS[right]).join('');
const bytes = (share: ShareInfo): number => share.blocks * share.blockBytes;

function listRows(devices: readonly DeviceInfo[]): Cell[][] {
  return devices.flatMap((device) =>
    device.shares.map((share) => [
      `${device.name}/${share.name}`,
      device.class,
      formatSize(bytes(share)),
      share.blocks,
      share.blockBytes,
      access(share),
      formatSize(share.maxBlocks * share.blockBytes),
      device.state,
      device.free ? 'yes' : 'no',
    ]),
  );
}

const LIST_HEADINGS = ['SHARE', 'CLASS', 'SIZE', 'BLOCKS', 'BLOCK', 'ACCESS', 'MAX I/O', 'STATE', 'FREE'];

export const listCommand = (): Command =>
  withConnection(new Command('list'))
    .description('the devices and shares that you can use')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  ringwarden list --tenant alice\n  ringwarden list -o json')
    .action(async (options: ConnectionOptions & OutputOptions) => {
      await withClient(options, async (client) => {
        const devices = await client.listDevices();
        if (options.output === 'json') return print(json({ tenant: client.tenant, isolation: client.isolation, devices }));
        if (devices.length === 0) return print(`tenant ${client.tenant} may use no device`);
        return print(await table(LIST_HEADINGS, listRows(devices)));
      });
    });

async function showShares(device: DeviceInfo): Promise<string> {
  const head = facts([
    ['device', device.name],
    ['class', device.class],
    ['state', device.state],
    ['free', device.free ? 'yes' : `no: ${device.heldBy.join('; ')}`],
  ]);
  const shares = device.shares.map((share) =>
    facts([
      ['share', `${device.name}/${share.name}`],
      ['index', share.index],
      ['size', `${formatSize(bytes(share))} (${share.blocks} blocks of ${share.blockBytes} bytes)`],
      ['access', share.access.join(', ')],
      ['operations', share.operations.join(', ')],
      ['most in a request', `${formatSize(share.maxBlocks * share.blockBytes)} (${share.maxBlocks} blocks)`],
    ]),
  );
  return [head, ...shares].join('\n\n');
}

/** Nested plain values as indented lines. */
export function tree(value: unknown, indent = ''): string {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== 'object')) return value.length === 0 ? 'none' : printable(value.join(', '));
    return value.map((item, index) => `\n${indent}- ${index}:${tree(item, `${indent}    `)}`).join('');
  }
  if (value === null || value === undefined) return 'none';
  if (typeof value !== 'object') return printable(typeof value === 'string' ? value : JSON.stringify(value));
  return Object.entries(value)
    .map(([key, item]) => {
      const text = tree(item, `${indent}  `);
      return `\n${indent}${key}:${text.startsWith('\n') || text === '' ? text : ` ${text}`}`;
    })
    .join('');
}

const PAGES = ['smart', 'errors', 'firmware'] as const;

interface ShowOptions extends ConnectionOptions, AdminOptions, OutputOptions {
  readonly admin?: boolean;
  readonly log?: (typeof PAGES)[number];
  readonly pci?: boolean;
}

async function showAdmin(name: string, options: ShowOptions): Promise<void> {
  const page = options.log === undefined ? '' : `/${options.log}`;
  const value = await adminGet<unknown>(options, `/devices/${encodeURIComponent(name)}${page}`);
  print(options.output === 'json' ? json(value) : tree(value).trimStart());
}

export const showCommand = (): Command =>
  withAdmin(withConnection(new Command('show')))
    .description('one device: what you may do with it; with --admin, all about it')
    .argument('<device>', 'name of the device')
    .option('--admin', 'ask over the admin socket')
    .addOption(new Option('--pci', 'the PCI function behind it, as a lease may see it; opens the device for that').conflicts(['admin', 'log']))
    .addOption(new Option('--log <page>', 'a log page of the controller, over the admin socket').choices(PAGES))
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  ringwarden show nvme0 --tenant alice\n  ringwarden show nvme0 --admin\n  ringwarden show nvme0 --log smart')
    .action(async (name: string, options: ShowOptions) => {
      if (options.admin === true || options.log !== undefined) return showAdmin(name, options);
      return withClient(options, async (client) => {
        const device = (await client.listDevices()).find((each) => each.name === name);
        if (device === undefined) {
          throw new CliError(
            `no device "${name}" is granted to tenant ${client.tenant}`,
            `list the devices with "${styled('bold', 'ringwarden list')}"`,
            Exit.failed,
          );
        }
        if (options.pci === true) {
          const { readPci, showPci } = await import('./pci.js');
          const report = await readPci(client, name);
          return print(options.output === 'json' ? json(report) : showPci(report));
        }
        return print(options.output === 'json' ? json(device) : await showShares(device));
      });
    });
