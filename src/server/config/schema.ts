/** The configuration file, key by key. The published JSON schema is generated from this. */
import * as z from 'zod';
import { MAX_MESSAGE_BYTES, MAX_REGION_BYTES, MAX_RING_ENTRIES, MIN_RING_ENTRIES, PAGE_BYTES } from '../../protocol/index.js';
import { PATHS } from '../../hw/linux/drivers.js';
import { LOG_FORMATS, LOG_LEVELS } from '../log.js';
import { duration, extent, flag, list, name, path, pciAddress, record, serial, size, text, whole, word, words } from './fields.js';

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const TiB = 2 ** 40;

/** Tenants, so that the counters of one engine have a fixed size. */
export const MAX_TENANTS = 1_024;
/** NVMe controllers take 1 to 4096 vectors (PCI 3.0, 6.8.2: the MSI-X table has at most 2048 entries). */
const MAX_VECTORS = 2_048;
const DEFAULT_VECTORS = 64;

const namespace = record('a namespace', {
  size: size(512, 16 * TiB)
    .optional()
    .describe('Capacity. May be left out where the image is there already.'),
  blockBytes: z
    .union([z.literal(512), z.literal(4096)], { error: 'write 512 or 4096' })
    .default(512)
    .describe('Bytes of a logical block.'),
  image: path().optional().describe('Image file; created, sparse, if it is not there. Without one the content lives in memory.'),
});

const namespaces = list('namespaces', namespace, 32)
  .min(1, { error: 'write at least one namespace' })
  .describe('Namespaces of the controller, numbered from 1.');

const emulated = record('a backing', {
  kind: z.literal('emulated'),
  mode: word('stepped', 'thread').default('stepped').describe('Where the model runs: inside the I/O thread, or on a thread of its own.'),
  namespaces,
  maxTransfer: size(8 * KiB, 16 * MiB)
    .prefault(512 * KiB)
    .describe('Most data in one command (MDTS): a power of two times 4 KiB.'),
  queuePairs: whole(1, 1024).default(32).describe('I/O queue pairs that the controller offers.'),
  queueEntries: whole(2, 65_536).default(1024).describe('Largest queue that the controller takes (CAP.MQES + 1).'),
  vectors: whole(1, MAX_VECTORS).default(33).describe('Entries of the MSI-X table.'),
  doorbellStride: whole(0, 8).default(0).describe('CAP.DSTRD: doorbells are 4 << stride bytes apart.'),
  serial: serial().optional().describe('Serial number that the controller reports.'),
  rom: path().optional().describe('File with the expansion ROM of the function, up to 16 MiB. Default: it has none.'),
});

const qemu = record('a backing', {
  kind: z.literal('qemu'),
  namespaces,
  binary: path().optional().describe('QEMU program; by default qemu-system-x86_64 from the PATH.'),
  maxTransfer: size(8 * KiB, 16 * MiB)
    .prefault(512 * KiB)
    .describe('Most data in one command (MDTS): a power of two times 4 KiB.'),
  queuePairs: whole(1, 1024).default(32).describe('I/O queue pairs that the controller offers.'),
  vectors: whole(1, MAX_VECTORS).default(33).describe('Entries of the MSI-X table.'),
  serial: serial().optional().describe('Serial number that the controller reports.'),
  rom: path().optional().describe('File with the expansion ROM of the function, up to 16 MiB. Default: it has none.'),
});

const pciNamespace = record('a namespace', {
  size: size(512, 2 ** 53 - 1)
    .optional()
    .describe('Capacity that windows are checked against before the device is there.'),
  blockBytes: z
    .union([z.literal(512), z.literal(4096)], { error: 'write 512 or 4096' })
    .optional()
    .describe('Bytes of a logical block that the device must have; by default those that it has.'),
});

const pci = record('a backing', {
  kind: z.literal('pci'),
  address: pciAddress().describe('Where the function is, as "ringwarden status --devices" shows it.'),
  path: word(...PATHS)
    .optional()
    .describe('Way in which it is driven; by default the one that it is bound to.'),
  namespaces: list('namespaces', pciNamespace, 32)
    .min(1, { error: 'write at least one namespace' })
    .prefault([{}])
    .describe('Namespaces that shares may name, numbered as the device numbers them, from 1.'),
});

export const deviceSchema = record('a device', {
  name: name().describe('Name that tenants and the administrator use.'),
  class: word('nvme').default('nvme').describe('Device class: the driver that runs it. There is no generic pass-through.'),
  backing: z
    .discriminatedUnion('kind', [emulated, qemu, pci], { error: 'write an object with "kind": "emulated", "qemu" or "pci"' })
    .describe('The world that the device is in.'),
  vectorsCeiling: whole(1, MAX_VECTORS).default(DEFAULT_VECTORS).describe('Most interrupt vectors to use, whatever the device offers.'),
});

const OPERATIONS = ['read', 'write', 'flush', 'writeZeroes', 'compare', 'deallocate'] as const;

const shareSchema = record('a share', {
  name: name().describe('Name of the share: DEVICE/NAME in commands.'),
  device: name().describe('Device that holds it.'),
  namespace: whole(1, 0xffff_fffe).default(1).describe('Namespace on the device.'),
  first: extent().prefault(0).describe('Where the window begins.'),
  size: extent().describe('How long the window is.'),
  access: words('read', 'write').default(['read', 'write']).describe('Rights on the window.'),
  operations: words(...OPERATIONS)
    .optional()
    .describe('Operations that are granted; by default all that the rights allow.'),
  shared: flag().default(false).describe('The window may overlap one of another tenant that says the same.'),
  keepData: flag().optional().describe('What the blocks hold when they come to this tenant: kept (true) or wiped (false, and by default).'),
});

const tokenSchema = z
  .union(
    [
      record('a token', {
        sha256: z
          .string()
          .regex(/^[0-9a-f]{64}$/, { error: 'write the hash that "ringwarden token" printed: 64 hexadecimal digits, in small letters' })
          .describe('SHA-256 of the token.'),
      }),
      record('a token', { file: path().describe('File with the token on its first line, readable by the server only.') }),
    ],
    { error: 'write {"sha256": "..."} with the hash that "ringwarden token" printed, or {"file": "..."}; never the token itself' },
  )
  .describe('Token of the tenant. The configuration never holds it in clear text.');

const uid = z.union([z.int().min(0).max(0xffff_fffe), z.literal('server')], {
  error: 'write a user id (a number), or "server" for the user that runs the server',
});

const ratesSchema = record('rates', {
  operations: whole(0, 1e9).default(0).describe('Requests a second; 0: no limit.'),
  bytes: size(0, TiB).prefault(0).describe('Bytes a second; 0: no limit.'),
});

const powerOfTwo = (value: number): boolean => (value & (value - 1)) === 0;
const RING_ERROR = `write a power of two from ${MIN_RING_ENTRIES} to ${MAX_RING_ENTRIES}`;

const tenantLimitsSchema = record('limits', {
  sessions: whole(1, 65_536).default(64).describe('Connections at a time.'),
  pinned: size(PAGE_BYTES, 16 * TiB)
    .prefault(256 * MiB)
    .describe('Memory pinned over all domains of the tenant, staging and views of hardware rings included.'),
  regions: whole(1, 65_535).default(4_096).describe('Memory regions in one domain.'),
  regionSize: size(PAGE_BYTES, MAX_REGION_BYTES)
    .prefault(256 * MiB)
    .describe('Largest memory region.'),
  leases: whole(1, 256).default(16).describe('Leases of one session.'),
  queuesPerLease: whole(1, 256).default(16).describe('Queues of one lease.'),
  ringEntries: whole(MIN_RING_ENTRIES, MAX_RING_ENTRIES)
    .refine(powerOfTwo, { error: RING_ERROR })
    .default(MAX_RING_ENTRIES)
    .describe('Entries of one queue.'),
  inFlight: whole(1, 65_536).default(1_024).describe('Requests in flight over all queues of one lease.'),
  staging: size(PAGE_BYTES, 64 * MiB)
    .prefault(MAX_MESSAGE_BYTES)
    .describe('Staging memory of a session: data of the requests that travel in messages.'),
  messagesPerSecond: whole(1, 1e6).default(500).describe('Control messages a second, averaged over ten seconds.'),
});

const tenantSchemaShape = {
  name: name().describe('Name of the tenant.'),
  uid: uid.optional().describe('User id of its processes, on the Unix socket.'),
  uids: list('user ids', uid, 64).min(1, { error: 'write at least one user id' }).optional().describe('Several user ids.'),
  gid: whole(0, 0xffff_fffe).optional().describe('Group id of its processes; beside user ids, both must fit.'),
  token: tokenSchema.optional(),
  weight: whole(1, 1000).default(100).describe('Its part of a busy device, beside the weights of the others.'),
  rates: ratesSchema.prefault({}).describe('Rate limits.'),
  limits: tenantLimitsSchema.prefault({}).describe('Limits on what it may hold.'),
  modes: words('shared', 'exclusive').default(['shared']).describe('Kinds of leases: beside others, or alone on the device.'),
  queues: words('shared', 'own').default(['shared', 'own']).describe("Hardware queues: the server's, or pairs of the lease's own."),
  dma: word('direct', 'copied')
    .default('direct')
    .describe("How devices get at the memory that its programs map: themselves, or through copies in the server's."),
  shares: list('shares', shareSchema, 256).prefault([]).describe('Windows of blocks that the tenant may use.'),
};
export const tenantSchema = record('a tenant', tenantSchemaShape);

const port = (description: string) => whole(1, 65_535).describe(description);

const listenSchema = record('listeners', {
  unix: record('a Unix socket', {
    path: path().describe('Path of the socket.'),
    mode: z
      .string({ error: 'write the mode in octal digits, such as "0666"' })
      .regex(/^0?[0-7]{3}$/, { error: 'write the mode in octal digits, such as "0666"' })
      .default('0666')
      .describe('Mode of the socket. Who may do what is decided by the credentials of each peer.'),
  })
    .optional()
    .describe('A Unix socket: clients are known by the user and group of their process.'),
  tcp: record('a TCP listener', {
    host: text('an address', 255).default('127.0.0.1').describe('Address to listen on. Beyond loopback, tls is needed.'),
    port: port('Port to listen on.'),
    tls: record('certificate and key', { cert: path().describe('Certificate chain, PEM.'), key: path().describe('Private key, PEM.') })
      .optional()
      .describe('TLS, with this certificate.'),
  })
    .optional()
    .describe('TCP: clients are known by their tokens.'),
});

const limitsSchema = record('limits', {
  connections: whole(1, 1e6).default(1_024).describe('Connections at a time.'),
  unauthenticated: whole(1, 65_536)
    .default(256)
    .describe('Connections that have not said hello yet. One peer, which is a user id or an address, has at most half of them.'),
  helloTime: duration(10, 3_600_000).prefault('5 s').describe('How long a connection may take to say hello.'),
  sendPause: size(4 * KiB, GiB)
    .prefault(MiB)
    .describe('Bytes waiting for one session before the server stops reading from it.'),
  sendClose: size(4 * KiB, GiB)
    .prefault(16 * MiB)
    .describe('Bytes waiting for one session before the server ends it.'),
  keepalive: duration(100, 24 * 3_600_000)
    .prefault('30 s')
    .describe('A session that stays silent for so long is ended.'),
});

const adminSchema = record('administration', {
  path: path().describe('Path of the admin socket.'),
  group: z
    .union([z.int().min(0).max(0xffff_fffe), z.string().min(1)], { error: 'write the name or the id of a group' })
    .optional()
    .describe('Group whose members may administer, beside root and the user that runs the server.'),
  metrics: record('a metrics listener', {
    host: text('a loopback address', 255).default('127.0.0.1').describe('Loopback address.'),
    port: port('Port for Prometheus to scrape, at /metrics.'),
  })
    .optional()
    .describe('Metrics over TCP, on loopback only, for anyone on this machine.'),
});

export const configSchema = z.strictObject(
  {
    $schema: z.string().optional().describe('JSON schema of this file, for editors.'),
    state: path().describe('Folder for what the server must remember: who used which blocks.'),
    isolation: word('required', 'none')
      .default('required')
      .describe('"none" lets tenants share a user id: they are then not protected from each other.'),
    listen: listenSchema.describe('Where clients connect.'),
    admin: adminSchema.describe('Where the administrator connects.'),
    log: record('log settings', {
      level: word(...LOG_LEVELS)
        .default('info')
        .describe('Least level that is written.'),
      format: word(...LOG_FORMATS)
        .default('json')
        .describe('JSON lines, or text for people.'),
    })
      .prefault({})
      .describe('Logs, on standard error.'),
    limits: limitsSchema.prefault({}).describe('Limits of the server as a whole.'),
    drain: duration(0, 3_600_000).prefault('5 s').describe('How long requests in flight may take at the end.'),
    devices: list('devices', deviceSchema, 64).min(1, { error: 'write at least one device' }).describe('Devices that the server drives.'),
    tenants: list('tenants', tenantSchema, MAX_TENANTS).describe('Who may use what.'),
  },
  { error: (issue) => (issue.code === 'invalid_type' ? 'write the configuration as an object in braces' : undefined) },
);

export type ParsedConfig = z.output<typeof configSchema>;
export type ParsedDevice = z.output<typeof deviceSchema>;
export type ParsedTenant = z.output<typeof tenantSchema>;
export type ParsedShare = ParsedTenant['shares'][number];
export type ParsedNamespace = ParsedDevice['backing']['namespaces'][number];
