/** Commands that ask over the admin socket. */
import { Command } from 'commander';
import { formatSize } from '../server/text.js';
import { NoServerError, adminGet, adminPost, adminSocketPath, adminText, isAdminSocketNamed } from './admin-client.js';
import { CliError } from './failure.js';
import { tree } from './list.js';
import { outputOption, withAdmin } from './options.js';
import type { AdminOptions, OutputOptions } from './options.js';
import { json, print, styled, table } from './output.js';

type Options = AdminOptions & OutputOptions;

/** The parts of `/status` that the table shows. */
interface Status {
  readonly server: {
    readonly version: string;
    readonly pid: number;
    readonly uptimeSeconds: number;
    readonly configuration: string;
    readonly listen: { readonly unix: string | null; readonly tcp: string | null };
    readonly isolation: string;
    readonly privileges: {
      readonly uid: number;
      readonly capabilities: readonly string[];
      readonly noNewPrivileges: boolean;
      readonly filter: boolean;
      readonly unreached: number;
    };
  };
  readonly devices: readonly {
    readonly name: string;
    readonly class: string;
    readonly state: string;
    readonly why: string;
    /** What to do about a device that does not work. */
    readonly remedy: string;
    readonly backing: string;
    readonly description: string;
    readonly model: string;
    readonly leases: number;
    readonly quarantineBytes: number;
  }[];
  readonly tenants: readonly {
    readonly name: string;
    readonly isolation: string;
    readonly dma: string;
    readonly sessions: number;
    readonly pinnedBytes: number;
  }[];
  readonly refusals: number;
  readonly wipes: readonly {
    readonly device: string;
    readonly namespace: number;
    readonly firstBlock: number;
    readonly blocks: number;
    readonly done: number;
    readonly tenants: readonly string[];
    readonly state: string;
    readonly reason: string;
  }[];
}

const percent = (done: number, of: number): string => `${Math.floor((100 * done) / Math.max(1, of))} %`;

function privilegesText({ uid, capabilities, noNewPrivileges, filter, unreached }: Status['server']['privileges']): string {
  const parts = [
    `user ${uid}`,
    capabilities.length === 0 ? 'no capabilities' : capabilities.join(', '),
    noNewPrivileges ? 'can gain none' : 'can gain more',
    filter ? 'system calls filtered' : 'system calls not filtered',
    ...(unreached === 0 ? [] : [`threads that kept theirs: ${unreached}`]),
  ];
  return `privileges: ${parts.join('; ')}`;
}

async function statusText({ server, devices, tenants, refusals, wipes }: Status): Promise<string> {
  const heading = (text: string): string => styled(['bold', 'underline'], text);
  const sockets = [server.listen.unix, server.listen.tcp].filter((each) => each !== null);
  const parts = [
    `${heading('Server')}\nringwarden ${server.version}, process ${server.pid}, up ${server.uptimeSeconds} s, ${refusals} refusals\n` +
      `configuration ${server.configuration}\nlistens at ${sockets.join(' and ')}\n${privilegesText(server.privileges)}`,
    `${heading('Devices')}\n${await table(
      ['DEVICE', 'CLASS', 'STATE', 'BACKING', 'MODEL', 'LEASES', 'QUARANTINE'],
      devices.map((each) => [each.name, each.class, each.state, each.backing, each.model, each.leases, formatSize(each.quarantineBytes)]),
    )}`,
    ...devices.map(({ name, description, why, remedy }) =>
      [`${name}: ${description}${why === '' ? '' : `; ${why}`}`, ...(remedy === '' ? [] : [`   do: ${remedy}`])].join('\n'),
    ),
    `${heading('Tenants')}\n${await table(
      ['TENANT', 'ISOLATION', 'DMA', 'SESSIONS', 'PINNED'],
      tenants.map((each) => [each.name, each.isolation, each.dma, each.sessions, formatSize(each.pinnedBytes)]),
    )}`,
  ];
  if (wipes.length > 0) {
    const rows = wipes.map((each) => [
      each.device,
      each.namespace,
      each.firstBlock,
      each.blocks,
      each.tenants.join(', '),
      `${each.state}${each.reason === '' ? '' : `: ${each.reason}`}`,
      percent(each.done, each.blocks),
    ]);
    parts.push(`${heading('Wipes')}\n${await table(['DEVICE', 'NAMESPACE', 'FIRST', 'BLOCKS', 'FOR', 'STATE', 'DONE'], rows)}`);
  }
  return parts.join('\n\n');
}

interface StatusOptions extends Options {
  readonly devices?: boolean;
}

async function printMachine({ output }: StatusOptions): Promise<void> {
  const [{ machineText, machineView }, { Machine }] = await Promise.all([import('./functions.js'), import('../hw/linux/machine.js')]);
  const view = machineView(new Machine());
  print(output === 'json' ? json({ server: null, ...view }) : await machineText(view));
}

export const statusCommand = (): Command =>
  withAdmin(new Command('status'))
    .description('the server at a glance: devices, tenants, how well they are kept apart; without a server, the PCI functions of this machine')
    .option('--devices', 'the PCI functions of this machine: what they are bound to, and what uses them; no server is asked')
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  ringwarden status\n  ringwarden status --devices -o json')
    .action(async (options: StatusOptions) => {
      if (options.devices === true) return printMachine(options);
      let status: Status;
      try {
        status = await adminGet<Status>(options, '/status');
      } catch (error) {
        // The failure is told all the same: whoever asks about the server gets a status that says that there is none.
        if (error instanceof NoServerError && !isAdminSocketNamed(options.adminSocket)) await printMachine(options);
        throw error;
      }
      return print(options.output === 'json' ? json(status) : await statusText(status));
    });

interface Stats {
  readonly device: string;
  readonly tenant: string;
  readonly [counter: string]: unknown;
}

/** Leaves of nested counters as `name.name: value`. */
function leaves(value: unknown, name: string): string[] {
  if (typeof value !== 'object' || value === null) return [`${name}: ${String(value)}`];
  return Object.entries(value).flatMap(([key, item]) => leaves(item, `${name}.${key}`));
}

function statsText(all: readonly Stats[]): string {
  const devices = [...new Set(all.map(({ device }) => device))];
  return devices
    .map((name) => {
      const lines = all.filter(({ device }) => device === name).flatMap(({ device: _device, tenant, ...counters }) => leaves(counters, tenant));
      return `${name}:\n${lines.map((line) => `     ${line}`).join('\n')}`;
    })
    .join('\n');
}

export const statsCommand = (): Command =>
  withAdmin(new Command('stats'))
    .description('counters of each tenant on each device')
    .argument('[device]', 'one device only')
    .addOption(outputOption())
    .option('--prometheus', 'all metrics in the text format of Prometheus')
    .addHelpText('after', '\nExamples:\n  ringwarden stats nvme0\n  ringwarden stats -o json\n  ringwarden stats --prometheus')
    .action(async (device: string | undefined, options: Options & { readonly prometheus?: boolean }) => {
      if (options.prometheus === true) return print((await adminText(adminSocketPath(options.adminSocket), 'GET', '/metrics')).trimEnd());
      const all = await adminGet<Stats[]>(options, '/stats');
      const chosen = device === undefined ? all : all.filter((each) => each.device === device);
      if (device !== undefined && chosen.length === 0) {
        throw new CliError(`there are no counters of a device "${device}"`, 'see "ringwarden status" for the devices');
      }
      return print(options.output === 'json' ? json(chosen) : statsText(chosen));
    });

interface TraceLine {
  readonly time: string;
  readonly device: string;
  readonly lease: number;
  readonly queue: number;
  readonly operation: string;
  readonly share: number;
  readonly lba: number;
  readonly blocks: number;
  readonly code: string;
  readonly microseconds: number;
}

export const traceCommand = (): Command =>
  withAdmin(new Command('trace'))
    .description('the last requests of a tenant')
    .argument('<tenant>', 'name of the tenant')
    .addOption(outputOption())
    .action(async (tenant: string, options: Options) => {
      const lines = await adminGet<TraceLine[]>(options, `/trace/${encodeURIComponent(tenant)}`);
      if (options.output === 'json') return print(json(lines));
      if (lines.length === 0) return print(`tenant ${tenant} has sent no requests yet`);
      const headings = ['TIME', 'DEVICE', 'LEASE', 'QUEUE', 'OPERATION', 'SHARE', 'LBA', 'BLOCKS', 'CODE', 'MICROSECONDS'];
      const rows = lines.map((each) => [
        each.time.slice(11, 23),
        each.device,
        each.lease,
        each.queue,
        each.operation,
        each.share,
        each.lba,
        each.blocks,
        each.code,
        Math.round(each.microseconds),
      ]);
      return print(await table(headings, rows));
    });

interface Refusals {
  readonly total: number;
  readonly counts: readonly { readonly tenant: string; readonly code: string; readonly count: number }[];
  readonly recent: readonly {
    readonly time: number;
    readonly tenant: string;
    readonly session: number;
    readonly code: string;
    readonly field: string;
    readonly value: string;
  }[];
}

/** Refusals in the table; `-o json` has all that the server keeps. */
const SHOWN_REFUSALS = 20;

export const refusalsCommand = (): Command =>
  withAdmin(new Command('refusals'))
    .description('what sessions were refused: counts, and the last ones')
    .addOption(outputOption())
    .action(async (options: Options) => {
      const { counts, recent, total } = await adminGet<Refusals>(options, '/refusals');
      if (options.output === 'json') return print(json({ total, counts, recent }));
      if (total === 0) return print('nothing was refused');
      const countRows = counts.map((each) => [each.tenant || '-', each.code, each.count]);
      const recentRows = recent
        .slice(-SHOWN_REFUSALS)
        .map((each) => [new Date(each.time).toISOString().slice(11, 23), each.tenant || '-', each.session, each.code, each.field, each.value]);
      const last = await table(['TIME', 'TENANT', 'SESSION', 'CODE', 'FIELD', 'VALUE'], recentRows);
      return print(`${await table(['TENANT', 'CODE', 'COUNT'], countRows)}\n\n${last}`);
    });

export const inspectCommand = (): Command =>
  withAdmin(new Command('inspect'))
    .description('everything with state, as a tree')
    .argument('[part]', 'one part of the tree, as names with dots, such as "engines.nvme0"')
    .addOption(outputOption())
    .action(async (part: string | undefined, options: Options) => {
      let value = await adminGet<unknown>(options, '/inspect');
      for (const name of part?.split('.') ?? []) {
        const next = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
        if (next === undefined) throw new CliError(`the tree has no "${name}" in "${part}"`, 'see "ringwarden inspect" for its parts');
        value = next;
      }
      print(options.output === 'json' ? json(value) : tree(value).trimStart());
    });

export const resetCommand = (): Command =>
  withAdmin(new Command('reset'))
    .description('resets a controller: requests in flight end, every lease gets a "reset" event')
    .argument('<device>', 'name of the device')
    .addOption(outputOption())
    .action(async (device: string, options: Options) => {
      const result = await adminPost<unknown>(options, `/devices/${encodeURIComponent(device)}/reset`);
      print(options.output === 'json' ? json(result) : `${device} was reset`);
    });

export const reloadCommand = (): Command =>
  withAdmin(new Command('reload'))
    .description('reads the configuration again, as SIGHUP does')
    .addOption(outputOption())
    .action(async (options: Options) => {
      const result = await adminPost<{ readonly applied: boolean; readonly messages: readonly string[] }>(options, '/reload');
      if (options.output === 'json') print(json(result));
      else if (result.applied) print(['the new configuration is in force', ...result.messages].join('\n'));
      if (!result.applied) throw new CliError(result.messages.join('\n'), 'correct it and try again; the old configuration stays in force');
    });
