/** The driver server, put together: what it takes, in which order, and how it gives it back. */
import { shm } from '../native/shm.js';
import { systemEnvironment } from './config/index.js';
import type { Configuration, Environment } from './config/index.js';
import { requireSameSpaces, startDevice } from './devices.js';
import type { RunningDevice } from './devices.js';
import type { EngineHost } from './engine/index.js';
import { Tickets, readMappings } from './handover/index.js';
import { Holdings } from './holdings.js';
import { Ledger } from './ledger/index.js';
import { LiveConfiguration } from './live-configuration.js';
import type { Log } from './log.js';
import { Ownership } from './ownership.js';
import { giveUpPrivileges, readPrivileges } from './privileges.js';
import { Revival } from './revival.js';
import { requireFreeSocket } from './socket-file.js';
import { lockStateFolder } from './state-folder.js';
import { packageVersion } from './version.js';

/** How long the first clients may have to wait for wipes that are due; the rest goes on behind them, with the shares withheld. */
const START_WIPE_MILLISECONDS = 10_000;

export interface ServerOptions {
  readonly configuration: Configuration;
  /** Reads the configuration again, for a reload. @throws ConfigError */
  readonly load: () => Configuration;
  readonly log: Log;
  readonly environment?: Environment;
}

export interface RunningServer {
  readonly configuration: Configuration;
  readonly engines: ReadonlyMap<string, EngineHost>;
  /** As SIGHUP does. */
  reload(): Promise<unknown>;
  /** Lets requests in flight end, up to `milliseconds` (by default as configured), then gives everything back in reverse order. Safe to repeat. */
  stop(milliseconds?: number): Promise<void>;
}

/** What is needed on the way. */
interface Assembly extends Required<ServerOptions> {
  readonly holdings: Holdings;
  /** How long requests in flight may take at the end; changes when the server is told to hurry. */
  readonly drain: { milliseconds: number };
}

/** Starts the server. When it cannot, everything taken is given back in reverse order. @throws ConfigError, DeviceError, LedgerError, SocketInUse, ... */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { configuration, log, environment = systemEnvironment() } = options;
  const holdings = new Holdings(log);
  const drain = { milliseconds: configuration.drainMilliseconds };
  try {
    const { engines, live } = await assemble({ ...options, environment, holdings, drain });
    let stopped: Promise<void> | undefined;
    return {
      configuration,
      engines,
      reload: () => live.reload(),
      stop(milliseconds = configuration.drainMilliseconds) {
        drain.milliseconds = Math.min(drain.milliseconds, milliseconds);
        stopped ??= holdings.releaseAll();
        return stopped;
      },
    };
  } catch (error) {
    await holdings.releaseAll();
    throw error;
  }
}

async function assemble(assembly: Assembly): Promise<{ engines: ReadonlyMap<string, EngineHost>; live: LiveConfiguration }> {
  const { configuration, load, log, environment, holdings, drain } = assembly;
  const { unix, tcp, admin, limits } = configuration;
  const startedAt = Date.now();
  const version = packageVersion();
  shm().forbidDump();

  // Nothing is touched before it is certain that no other server is at work here.
  for (const path of [unix?.path, admin.path]) if (path !== undefined) await requireFreeSocket(path);
  holdings.add('state folder', lockStateFolder(configuration.state));
  const ledger = new Ledger(configuration.state);

  // The threads of the engines begin while this one loads what serves clients.
  const loading = Promise.all([import('./admin/index.js'), import('./session/index.js'), import('./listen/index.js')]);
  const devices = await startDevices(assembly, ledger);
  const [{ AdminServer, AuditLog }, { SessionManager }, { listenTcp, listenUnix }] = await loading;
  const engines = new Map(devices.map(({ engine }) => [engine.name, engine]));

  const ownership = new Ownership(
    ledger,
    devices.flatMap(({ spaces }) => spaces),
    engines,
    log,
  );
  const live = new LiveConfiguration({ configuration, load, environment, engines, ownership, log });
  await live.begin();
  const revival = new Revival({
    engines: engines.values(),
    check: (name) => requireSameSpaces(devices.find(({ engine }) => engine.name === name)),
    // Wipes that its end cut short go on.
    onBack: () => void live.startWipes(),
    log,
  });
  holdings.add('revival', () => revival.stop());

  const audit = new AuditLog(log);
  holdings.add('audit', () => audit.close());
  const tickets = new Tickets();
  const sessions = new SessionManager({
    engines,
    directory: () => live.directory,
    limits,
    log,
    audit,
    tickets,
    overflowUid: environment.overflowUid,
    serverVersion: `ringwarden ${version}`,
  });
  holdings.add('sessions', () => sessions.drain(drain.milliseconds));
  live.onPolicy = () => sessions.applyPolicy();

  const wipes = live.startWipes();
  holdings.add('wipes', () => ownership.stop());
  await Promise.race([wipes, waited(START_WIPE_MILLISECONDS)]);

  const adminServer = new AdminServer({
    ...admin,
    environment,
    log,
    sources: {
      version,
      startedAt,
      engines,
      audit,
      configuration: () => live.configuration,
      directory: () => live.directory,
      sessions: () => sessions.list(),
      pinnedBytes: (tenant) => sessions.domains.pins.pinned(tenant),
      mappings: async (pid) => (await readMappings(pid)).map((mapping) => sessions.handedOver.report(mapping)),
      wipes: () => ownership.reports(),
      inspectSessions: () => ({ sessions: sessions.list(), domains: sessions.domains.count, quarantineBytes: sessions.domains.quarantineBytes }),
      reload: () => live.reload(),
      privileges: readPrivileges,
    },
  });
  await adminServer.listen();
  holdings.add('admin socket', () => adminServer.close());
  if (unix !== undefined) {
    const listener = await listenUnix({ ...unix, sessions, limits, tickets, log });
    holdings.add('Unix socket', () => listener.close());
  }
  if (tcp !== undefined) {
    const listener = await listenTcp({ ...tcp, sessions, limits, log });
    holdings.add('TCP listener', () => listener.close());
  }
  giveUpPrivileges(configuration, log);
  log.info('ready', {
    milliseconds: Date.now() - startedAt,
    ...(unix !== undefined && { socket: unix.path }),
    ...(tcp !== undefined && { tcp: `${tcp.host}:${tcp.port}` }),
    admin: admin.path,
    devices: engines.size,
    tenants: configuration.tenants.length,
  });
  return { engines, live };
}

/** Starts all devices at once. When one cannot be had, the others are given back. @throws DeviceError */
async function startDevices({ configuration, log, holdings, drain }: Assembly, ledger: Ledger): Promise<RunningDevice[]> {
  const results = await Promise.allSettled(configuration.devices.map((device) => startDevice(device, ledger, log)));
  const running = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  for (const { engine } of running) holdings.add(`device ${engine.name}`, () => engine.close(drain.milliseconds));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return running;
}

/** Resolves after a time that does not keep the process alive. */
const waited = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
