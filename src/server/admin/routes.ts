/** What the administrator can ask: one table of methods and paths. Every answer is plain JSON, except for metrics. */
import type { DeviceState, EngineHost } from '../engine/api.js';
import { decodeErrors, decodeFirmware, decodeSmart } from './logs.js';
import { createMetrics } from './metrics.js';
import { mappingAt, mappingsOf } from './mappings.js';
import { AdminRefusal } from './refusal.js';
import { deviceRemedy } from './remedy.js';
import { inTime, namedCounters, namedTrace, takeSnapshot } from './snapshot.js';
import type { AdminSources } from './sources.js';
import { deviceView, inspectView, statusView, tenantsView } from './views.js';

export interface AdminAnswer {
  readonly contentType: string;
  readonly text: string;
}

interface Route {
  readonly method: 'GET' | 'POST';
  /** Parts of the path; those that begin with ":" take any name. */
  readonly path: string;
  readonly what: string;
  /** Gets the names that the path took. */
  readonly handle: (sources: AdminSources, ...names: string[]) => Promise<unknown>;
}

/** A controller reset waits for the device (CAP.TO is up to 128 s); a log page does not take long. */
const RESET_MILLISECONDS = 130_000;
const LOG_MILLISECONDS = 10_000;

function engineOf(sources: AdminSources, name: string): EngineHost {
  const engine = sources.engines.get(name);
  if (engine === undefined) throw new AdminRefusal(404, `there is no device "${name}"`, `the devices are ${[...sources.engines.keys()].join(', ')}`);
  return engine;
}

/** @throws AdminRefusal for a device that is lost. */
async function workingEngine(sources: AdminSources, name: string): Promise<{ engine: EngineHost; state: DeviceState }> {
  const engine = engineOf(sources, name);
  const report = await inTime(engine.report(), `device ${name}`);
  if (report.state === 'lost') throw new AdminRefusal(409, `device ${name} is lost: ${report.lost}`, deviceRemedy(report));
  return { engine, state: report.state };
}

async function logPage(sources: AdminSources, name: string, page: 'smart' | 'error' | 'firmware'): Promise<Uint8Array> {
  const { engine } = await workingEngine(sources, name);
  return inTime(engine.logPage(page), `device ${name}`, LOG_MILLISECONDS);
}

async function resetController(sources: AdminSources, name: string): Promise<object> {
  const { engine, state } = await workingEngine(sources, name);
  if (state === 'closed') throw new AdminRefusal(409, `device ${name} is closed: nobody uses it`, 'nothing; whoever opens it resets it');
  await inTime(engine.resetController('asked for by the administrator'), `device ${name}`, RESET_MILLISECONDS);
  return { device: name, reset: true };
}

export const ROUTES: readonly Route[] = [
  { method: 'GET', path: '/status', what: 'the server at a glance', handle: async (sources) => statusView(await takeSnapshot(sources)) },
  {
    method: 'GET',
    path: '/devices',
    what: 'every device with its leases',
    handle: async (sources) => (await takeSnapshot(sources)).devices.map((device) => deviceView(device, sources)),
  },
  {
    method: 'GET',
    path: '/devices/:name',
    what: 'one device',
    handle: async (sources, name) => {
      engineOf(sources, name);
      const { devices } = await takeSnapshot(sources);
      return devices.filter((device) => device.name === name).map((device) => deviceView(device, sources))[0];
    },
  },
  {
    method: 'GET',
    path: '/devices/:name/smart',
    what: 'its SMART log',
    handle: async (sources, name) => decodeSmart(await logPage(sources, name, 'smart')),
  },
  {
    method: 'GET',
    path: '/devices/:name/errors',
    what: 'its error log',
    handle: async (sources, name) => decodeErrors(await logPage(sources, name, 'error')),
  },
  {
    method: 'GET',
    path: '/devices/:name/firmware',
    what: 'its firmware slots',
    handle: async (sources, name) => decodeFirmware(await logPage(sources, name, 'firmware')),
  },
  {
    method: 'POST',
    path: '/devices/:name/reset',
    what: 'resets the controller: requests in flight end with "reset"',
    handle: resetController,
  },
  {
    method: 'GET',
    path: '/tenants',
    what: 'every tenant with its limits and shares',
    handle: async (sources) => tenantsView(await takeSnapshot(sources)),
  },
  { method: 'GET', path: '/sessions', what: 'who is connected', handle: async (sources) => sources.sessions() },
  {
    method: 'GET',
    path: '/stats',
    what: 'counters of each tenant on each device',
    handle: async (sources) => {
      const tenants = sources.directory().all;
      return [...sources.engines].flatMap(([device, engine]) =>
        tenants.map((tenant) => ({ device, tenant: tenant.name, ...namedCounters(engine.counters.tenant(tenant.index)) })),
      );
    },
  },
  {
    method: 'GET',
    path: '/trace/:name',
    what: 'the last requests of a tenant',
    handle: async (sources, name) => {
      const tenant = sources.directory().byName(name);
      const names = sources.directory().all.map((each) => each.name);
      if (tenant === undefined) throw new AdminRefusal(404, `there is no tenant "${name}"`, `the tenants are ${names.join(', ')}`);
      return namedTrace(
        [...sources.engines].map(([device, engine]) => ({ name: device, engine })),
        tenant.index,
      );
    },
  },
  {
    method: 'GET',
    path: '/refusals',
    what: 'the last refusals, and how many of each kind',
    handle: async ({ audit }) => ({ total: audit.total, counts: audit.counts(), recent: audit.recent() }),
  },
  { method: 'GET', path: '/mappings/:process', what: 'memory files that a process maps: whose they are, and for which lease', handle: mappingsOf },
  { method: 'GET', path: '/mappings/:process/:address', what: 'the one at an address', handle: mappingAt },
  { method: 'GET', path: '/inspect', what: 'everything with state, as a tree', handle: async (sources) => inspectView(await takeSnapshot(sources)) },
  { method: 'POST', path: '/reload', what: 'reads the configuration again, as SIGHUP does', handle: async (sources) => sources.reload() },
];

/** The names in `path` where it fits the route; undefined where it does not. */
function match(route: Route, path: string): string[] | undefined {
  const wanted = route.path.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const names: string[] = [];
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(':')) names.push(given[index]);
    else if (part !== given[index]) return undefined;
  }
  return names;
}

function decodeName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new AdminRefusal(400, 'the path is not well-formed', 'encode names as in any URL');
  }
}

const json = (value: unknown): AdminAnswer => ({ contentType: 'application/json', text: `${JSON.stringify(value, undefined, 2)}\n` });

/** Answers requests. Throws an {@link AdminRefusal} for what cannot be answered. */
export function createRouter(sources: AdminSources): {
  answer(method: string, path: string): Promise<AdminAnswer>;
  metrics(): Promise<AdminAnswer>;
} {
  const metrics = createMetrics();
  const scrape = async (): Promise<AdminAnswer> => metrics.scrape(await takeSnapshot(sources));
  return {
    metrics: scrape,
    async answer(method, path) {
      if (path === '/metrics' && method === 'GET') return scrape();
      const fitting = ROUTES.flatMap((route) => {
        const names = match(route, path);
        return names === undefined ? [] : [{ route, names }];
      });
      const chosen = fitting.find(({ route }) => route.method === method);
      if (chosen !== undefined) return json(await chosen.route.handle(sources, ...chosen.names.map(decodeName)));
      if (fitting.length > 0) throw new AdminRefusal(405, `${path} does not take ${method}`, `use ${fitting[0].route.method}`);
      throw new AdminRefusal(404, `there is no ${path}`, `the paths are ${[...ROUTES.map((route) => route.path), '/metrics'].join(', ')}`);
    },
  };
}
