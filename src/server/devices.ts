/** Starts the engine of each configured device, and checks the shares against what the probe found. */
import { readFunction } from '../hw/linux/functions.js';
import { Machine } from '../hw/linux/machine.js';
import { requireDrivable } from '../hw/linux/privilege.js';
import { HardwareError } from '../hw/task.js';
import type { BackingOptions } from '../hw/backings.js';
import { ConfigError } from './config/index.js';
import type { ConfigProblem, Configuration, DeviceConfig, PciBackingConfig, ShareConfig } from './config/index.js';
import { startEngine } from './engine/index.js';
import type { DeviceFacts, EngineHost } from './engine/index.js';
import { identityOf, imageBytes, isUntouched } from './images.js';
import type { Ledger } from './ledger/index.js';
import type { Log } from './log.js';
import { messageOf } from './text.js';

const PAGE_BYTES = 4096;
/** NVMe 1.4, figure 247: the serial number has 20 bytes. */
const SERIAL_CHARACTERS = 20;

/** A device that could not be started: says which, why, and what to do. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
  readonly remedy: string;
  constructor(device: string, cause: unknown) {
    super(`device ${device}: ${messageOf(cause)}`, { cause });
    const code = cause instanceof HardwareError ? cause.code : '';
    this.remedy = remedyOf(cause) ?? REMEDIES[code] ?? 'see the log above, or run with "--log-level debug"';
  }
}

/** What the backing itself says is to be done. */
const remedyOf = (cause: unknown): string | undefined =>
  cause instanceof Error && 'remedy' in cause && typeof cause.remedy === 'string' ? cause.remedy : undefined;

const REMEDIES: Readonly<Record<string, string>> = {
  busy: 'stop whoever holds it; two servers cannot share an image',
  absent: 'install or make what is missing, or choose another backing',
  exhausted: 'free the space, or ask for less in the configuration',
  unsupported: 'change the configuration of the device',
  timeout: 'the machine may be overloaded: try again',
};

/** A device's configuration in the terms of its backing. */
export function backingOptions({ name, backing }: DeviceConfig): BackingOptions {
  if (backing.kind === 'pci') return { kind: 'pci', address: backing.address, path: backing.path };
  const serial = backing.serial ?? `RW-${name}`.slice(0, SERIAL_CHARACTERS);
  const { queuePairs, vectors, rom } = backing;
  const mdts = Math.log2(backing.maxTransferBytes / PAGE_BYTES);
  if (backing.kind === 'qemu') {
    const drives = backing.namespaces.map(({ bytes, blockBytes, image }) => ({ bytes, blockBytes, file: image, content: 'memory' as const }));
    return { kind: 'qemu', drives, mdts, queuePairs, vectors, serial, rom, binary: backing.binary };
  }
  const { mode, queueEntries, doorbellStride, namespaces } = backing;
  return { kind: 'emulated', mode, namespaces, mdts, queuePairs, mqes: queueEntries - 1, doorbellStride, vectors, serial, rom };
}

/** A namespace that a running device offers. */
export interface Space {
  readonly device: string;
  readonly namespace: { readonly id: number; readonly bytes: number; readonly blockBytes: number; readonly image: string | undefined };
  /** What the ledger calls it. */
  readonly identity: string;
}

export interface RunningDevice {
  readonly engine: EngineHost;
  readonly spaces: readonly Space[];
}

/** Starts one engine, and tells the ledger which bytes of its images nobody has written yet. @throws DeviceError */
export async function startDevice(device: DeviceConfig, ledger: Ledger, log: Log): Promise<RunningDevice> {
  const { name, backing, vectorsCeiling } = device;
  let engine: EngineHost | undefined;
  try {
    if (backing.kind === 'pci') {
      const machine = new Machine();
      requireDrivable(machine, readFunction(machine, backing.address));
    }
    const images = backing.kind === 'pci' ? [] : backing.namespaces;
    const before = images.map(({ image }) => (image === undefined ? 0 : imageBytes(image)));
    engine = await startEngine({ name, backing: backingOptions(device), vectorsCeiling });
    engine.on('log', (level, message, details) => log[level](message, { device: name, ...details }));
    if (backing.kind === 'pci') return { engine, spaces: pciSpaces(name, backing, engine.facts) };
    const spaces = images.map((namespace, index): Space => {
      const { image, bytes } = namespace;
      const identity = identityOf(name, namespace);
      const written = image === undefined || isUntouched(image) ? 0 : Math.min(before[index], bytes);
      ledger.noteClean(identity, written, bytes - written);
      return { device: name, namespace, identity };
    });
    return { engine, spaces };
  } catch (error) {
    await engine?.close(0);
    throw new DeviceError(name, error);
  }
}

/** Windows of blocks were given on what the ledger knows: another file under the name of an image holds who knows whose data. @throws DeviceError */
export function requireSameSpaces(device: RunningDevice | undefined): void {
  for (const { namespace, identity } of device?.spaces ?? []) {
    const { image } = namespace;
    if (image === undefined || device === undefined) continue;
    if (imageBytes(image) === 0 || identityOf(device.engine.name, namespace) !== identity)
      throw new DeviceError(
        device.engine.name,
        new HardwareError('unsupported', `${image} is not the file that it was: restart the server if it is to be used`),
      );
  }
}

/** Of a real device nobody knows whose data it holds, unless the ledger does: of this device, in this slot. */
function pciSpaces(device: string, { address, namespaces }: PciBackingConfig, facts: DeviceFacts): Space[] {
  return facts.namespaces
    .filter(({ id }) => namespaces.some((expected) => expected.id === id))
    .map(({ id, blocks, blockBytes }) => ({
      device,
      namespace: { id, bytes: blocks * blockBytes, blockBytes, image: undefined },
      identity: `pci:${address}:${facts.model}:${facts.serial}/${id}`,
    }));
}

/** Shares that do not fit what the probe found. Shares on devices that are not running are left out: see {@link missingDevices}. */
export function checkShares(configuration: Configuration, engines: ReadonlyMap<string, EngineHost>): ConfigProblem[] {
  return configuration.tenants.flatMap(({ shares }) =>
    shares.flatMap((share): ConfigProblem[] => {
      const facts = engines.get(share.device)?.facts;
      if (facts === undefined) return [];
      const namespace = facts.namespaces.find(({ id }) => id === share.namespace);
      if (namespace === undefined) {
        return [configuration.problem([...share.path, 'namespace'], `the device has no namespace ${share.namespace}`, 'name one that it has')];
      }
      if (namespace.blockBytes !== share.blockBytes) {
        const what = `the namespace has blocks of ${namespace.blockBytes} bytes, not ${share.blockBytes}`;
        return [configuration.problem(share.path, what, 'correct blockBytes of the device, or restart the server if the device changed')];
      }
      if (share.blocks <= namespace.blocks && share.firstBlock <= namespace.blocks - share.blocks) return [];
      return [
        configuration.problem(
          [...share.path, 'size'],
          `the window does not lie inside the ${namespace.blocks} blocks of the namespace`,
          'shorten it',
        ),
      ];
    }),
  );
}

/** The configuration with windows in the blocks that the devices have. @throws ConfigError for {@link checkShares}, or when a window is not a whole number of them. */
export function fitShares(configuration: Configuration, engines: ReadonlyMap<string, EngineHost>): Configuration {
  const problems: ConfigProblem[] = [];
  const fit = (share: ShareConfig): ShareConfig => {
    const expected = configuration.devices.find(({ name }) => name === share.device)?.backing.namespaces[share.namespace - 1];
    const actual = engines.get(share.device)?.facts.namespaces.find(({ id }) => id === share.namespace);
    if (expected === undefined || expected.blockBytes !== undefined || actual === undefined) return share;
    const { blockBytes } = actual;
    const [firstBlock, blocks] = [share.firstBlock, share.blocks].map((count) => (count * share.blockBytes) / blockBytes);
    if (Number.isSafeInteger(firstBlock) && Number.isSafeInteger(blocks)) return { ...share, firstBlock, blocks, blockBytes };
    const what = `the device has blocks of ${blockBytes} bytes, and the window is not a whole number of them`;
    problems.push(configuration.problem(share.path, what, `write "first" and "size" as multiples of ${blockBytes} bytes`));
    return share;
  };
  const fitted = { ...configuration, tenants: configuration.tenants.map((tenant) => ({ ...tenant, shares: tenant.shares.map(fit) })) };
  if (problems.length === 0) problems.push(...checkShares(fitted, engines));
  if (problems.length > 0) throw new ConfigError(problems);
  return fitted;
}
