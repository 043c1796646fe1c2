/** What the command line says in place of the configuration. */
import { PATHS } from '../hw/linux/drivers.js';
import type { PciPath } from '../hw/linux/options.js';
import { ConfigError } from './config/index.js';
import type { BackingConfig, ConfigProblem, Configuration, DeviceConfig, ModelBackingConfig, ShareConfig } from './config/index.js';
import type { World } from './worlds.js';

type Model = ModelBackingConfig['kind'];

export interface Overrides {
  /** Path of the Unix socket. */
  readonly socket?: string | undefined;
  /** World that every device is in. */
  readonly world?: World | undefined;
  /** Address, in full, of the PCI function that the first device is. */
  readonly address?: string | undefined;
  /** What becomes of blocks of which nobody knows whose data they hold, where a share does not say. */
  readonly unknownData?: 'keep' | 'wipe' | undefined;
}

const DEFAULT_QUEUE_ENTRIES = 1_024;
const DEFAULT_MODEL = { maxTransferBytes: 512 * 2 ** 10, queuePairs: 32, vectors: 33, serial: undefined, rom: undefined } as const;

const isPath = (world: World): world is PciPath => (PATHS as readonly World[]).includes(world);

/** The same namespaces, as whatever the function has. */
const asFunction = (address: string, { namespaces }: BackingConfig): BackingConfig => ({
  kind: 'pci',
  address,
  path: undefined,
  namespaces: namespaces.map(({ id }) => ({ id, bytes: undefined, blockBytes: undefined })),
});

/** Undefined when a model would not know how large its namespaces are. */
function asModel(kind: Model, backing: BackingConfig): BackingConfig | undefined {
  if (backing.kind === kind) return backing;
  const namespaces = backing.namespaces.flatMap((each) => {
    const { id, bytes, blockBytes = 512 } = each;
    return bytes === undefined ? [] : [{ id, bytes, blockBytes, image: 'image' in each ? each.image : undefined }];
  });
  if (namespaces.length < backing.namespaces.length) return undefined;
  const { maxTransferBytes, queuePairs, vectors, serial, rom } = backing.kind === 'pci' ? DEFAULT_MODEL : backing;
  const common = { namespaces, maxTransferBytes, queuePairs, vectors, serial, rom };
  return kind === 'qemu'
    ? { ...common, kind, binary: undefined }
    : { ...common, kind, mode: 'stepped', queueEntries: DEFAULT_QUEUE_ENTRIES, doorbellStride: 0 };
}

/** @throws ConfigError when a device cannot be in the world that is asked for */
export function overrideConfiguration(configuration: Configuration, overrides: Overrides): Configuration {
  const { socket, world, address, unknownData } = overrides;
  const problems: ConfigProblem[] = [];
  const problem = (index: number, what: string, remedy: string): void => {
    problems.push(configuration.problem(['devices', index, 'backing'], what, remedy));
  };
  const overrideDevice = (device: DeviceConfig, index: number): DeviceConfig => {
    const backing = address !== undefined && index === 0 ? asFunction(address, device.backing) : device.backing;
    if (world === undefined) return { ...device, backing };
    if (isPath(world)) {
      if (backing.kind === 'pci') return { ...device, backing: { ...backing, path: world } };
      problem(index, `"${device.name}" is no PCI function, so it cannot be driven by ${world}`, 'say which one it is: --device ADDRESS');
      return device;
    }
    const model = asModel(world, backing);
    if (model === undefined) problem(index, 'the size of a namespace is not known', 'add "size" to each of its namespaces');
    return { ...device, backing: model ?? backing };
  };
  const overrideShare = (share: ShareConfig): ShareConfig => ({ ...share, keepData: share.keepData ?? (unknownData && unknownData === 'keep') });
  const { unix, devices, tenants } = configuration;
  const result = {
    ...configuration,
    unix: socket === undefined ? unix : { path: socket, mode: unix?.mode ?? 0o600 },
    devices: devices.map(overrideDevice),
    tenants: tenants.map((tenant) => ({ ...tenant, shares: tenant.shares.map(overrideShare) })),
  };
  if (problems.length > 0) throw new ConfigError(problems);
  return result;
}
