/** The driver server, put together: what it takes, in which order, and how it gives it back. */
import { shm } from '../native/shm.js';
import { AdminServer, AuditLog, requireFreeSocket } from './admin/index.js';
import { systemEnvironment } from './config/index.js';
import type { Configuration, Environment } from './config/index.js';
import { startDevice } from './devices.js';
import type { Space } from './devices.js';
import type { EngineHost } from './engine/index.js';
import { Holdings } from './holdings.js';
import { Ledger } from './ledger/index.js';
import { listenTcp, listenUnix } from './listen/index.js';
import { LiveConfiguration } from './live-configuration.js';
import type { Log } from './log.js';
import { Ownership } from './ownership.js';
import { SessionManager } from './session/index.js';
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

/** Starts the server. When it cannot, everything taken is given back in reverse order. @throws ConfigError, DeviceError, LedgerError, SocketInUse, ... */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { configuration, load, log, environment = systemEnvironment() } = options;
  const holdings = new Holdings(log);
  try {
    return await assemble(configuration, load, log, environment, holdings);
  } catch (error) {
    await holdings.releaseAll();
    throw error;
  }
}

async function assemble(
  configuration: Configuration,
  load: () => Configuration,
  log: Log,
  environment: Environment,
  holdings: Holdings,
): Promise<RunningServer> {
  const startedAt = Date.now();
  shm().forbidDump();

  // Nothing is touched before it is certain that no other server is at work here.
  const { unix, tcp, admin } = configuration;
  for (const path of [unix?.path, admin.path]) if (path !== undefined) await requireFreeSocket(path);
  holdings.add('state folder', lockStateFolder(configuration.state));
  const ledger = new Ledger(configuration.state);

  const engines = new Map<string, EngineHost>();
  const spaces: Space[] = [];
  let drainMilliseconds = configuration.drainMilliseconds;
  for (const device of configuration.devices) {
    const running = await startDevice(device, ledger, log);
    holdings.add(`device ${device.name}`, () => running.engine.close(drainMilliseconds));
    engines.set(device.name, running.engine);
    spaces.push(...running.spaces);
  }

  const ownership = new Ownership(ledger, spaces, engines, log);
  const live = new LiveConfiguration({ configuration, load, environment, engines, ownership, log });
  await live.begin();

  const audit = new AuditLog(log);
  holdings.add('audit', () => audit.close());
  const version = packageVersion();
  const { limits } = configuration;
  const sessions = new SessionManager({ engines, directory: () => live.directory, limits, log, audit, serverVersion: `ringwarden ${version}` });
  holdings.add('sessions', () => sessions.drain(drainMilliseconds));
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
      wipes: () => ownership.reports(),
      inspectSessions: () => ({ sessions: sessions.list(), domains: sessions.domains.count, quarantineBytes: sessions.domains.quarantineBytes }),
      reload: () => live.reload(),
    },
  });
  await adminServer.listen();
  holdings.add('admin socket', () => adminServer.close());

  if (unix !== undefined) {
    const listener = await listenUnix({ ...unix, sessions, limits, log });
    holdings.add('Unix socket', () => listener.close());
  }
  if (tcp !== undefined) {
    const listener = await listenTcp({ ...tcp, sessions, limits, log });
    holdings.add('TCP listener', () => listener.close());
  }
  log.info('ready', {
    milliseconds: Date.now() - startedAt,
    ...(unix !== undefined && { socket: unix.path }),
    ...(tcp !== undefined && { tcp: `${tcp.host}:${tcp.port}` }),
    admin: admin.path,
    devices: engines.size,
    tenants: configuration.tenants.length,
  });

  let stopped: Promise<void> | undefined;
  return {
    configuration,
    engines,
    reload: () => live.reload(),
    stop(milliseconds = configuration.drainMilliseconds) {
      drainMilliseconds = Math.min(drainMilliseconds, milliseconds);
      stopped ??= holdings.releaseAll();
      return stopped;
    },
  };
}

/** Resolves after a time that does not keep the process alive. */
const waited = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
