/** What the command line says in place of the configuration. */
import type { BackingConfig, BackingKind, Configuration } from './config/index.js';

export interface Overrides {
  /** Path of the Unix socket. */
  readonly socket?: string | undefined;
  /** World that every device is in. */
  readonly backing?: BackingKind | undefined;
}

function inWorld(kind: BackingKind, backing: BackingConfig): BackingConfig {
  if (backing.kind === kind) return backing;
  const { namespaces, maxTransferBytes, queuePairs, vectors, serial, rom } = backing;
  const common = { namespaces, maxTransferBytes, queuePairs, vectors, serial, rom };
  return kind === 'qemu'
    ? { ...common, kind, binary: undefined }
    : { ...common, kind, mode: 'stepped', queueEntries: DEFAULT_QUEUE_ENTRIES, doorbellStride: 0 };
}
const DEFAULT_QUEUE_ENTRIES = 1_024;

export function overrideConfiguration(configuration: Configuration, { socket, backing }: Overrides): Configuration {
  const { unix, devices } = configuration;
  return {
    ...configuration,
    unix: socket === undefined ? unix : { path: socket, mode: unix?.mode ?? 0o600 },
    devices: backing === undefined ? devices : devices.map((device) => ({ ...device, backing: inWorld(backing, device.backing) })),
  };
}
