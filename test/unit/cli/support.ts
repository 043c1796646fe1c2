/** Runs command lines in this process, against a server that is a double behind real sockets. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { run } from '../../../src/cli/program.js';
import { AdminServer } from '../../../src/server/admin/index.js';
import { systemEnvironment } from '../../../src/server/config/index.js';
import { Tickets } from '../../../src/server/handover/index.js';
import { listenUnix } from '../../../src/server/listen/index.js';
import { silentLog } from '../../../src/server/log.js';
import { SessionManager } from '../../../src/server/session/index.js';
import { createWorld } from '../admin/support.js';
import type { World } from '../admin/support.js';

export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `ringwarden ...args`. */
export async function ringwarden(...args: string[]): Promise<Ran> {
  let out = '';
  let err = '';
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text);
    return true;
  });
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += String(text);
    return true;
  });
  try {
    const status = await run(args);
    return { status, out, err };
  } finally {
    stdout.mockRestore();
    stderr.mockRestore();
  }
}

export interface CliWorld extends World {
  readonly folder: string;
  /** Options that name the sockets. */
  readonly admin: readonly string[];
  readonly client: readonly string[];
  close(): Promise<void>;
}

/** A server double with tenant alice, who is whoever runs the tests, and bob; at sockets in a folder of its own. */
export async function startWorld(): Promise<CliWorld> {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-cli-'));
  const uid = process.getuid?.() ?? 0;
  const share = '{ "name": "data", "device": "nvme0", "first": "1 blocks", "size": "64 KiB", "access": ["read"] }';
  const world = createWorld(`{ "name": "alice", "uid": ${uid}, "shares": [${share}] }, { "name": "bob", "uid": ${uid + 1} }`);
  const { sources, engine, audit } = world;
  const adminPath = join(folder, 'admin.sock');
  const clientPath = join(folder, 'rw.sock');
  const admin = new AdminServer({ path: adminPath, group: undefined, metrics: undefined, sources, environment: systemEnvironment(), log: silentLog });
  await admin.listen();
  const { limits } = sources.configuration();
  const tickets = new Tickets();
  const sessions = new SessionManager({
    engines: new Map([['nvme0', engine]]),
    directory: sources.directory,
    limits,
    log: silentLog,
    audit,
    tickets,
    overflowUid: 65_534,
    serverVersion: 'ringwarden test',
  });
  const listener = await listenUnix({ path: clientPath, mode: 0o600, sessions, limits, tickets, log: silentLog });
  return Object.assign(world, {
    folder,
    admin: ['--admin-socket', adminPath],
    client: ['--socket', clientPath],
    async close() {
      await listener.close();
      await sessions.drain(0);
      await admin.close();
      audit.close();
      rmSync(folder, { recursive: true });
    },
  });
}
