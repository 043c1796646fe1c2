/** A client of a scripted server, whose answers a test can hold back. The bindings are those of the test that runs. */
import { afterEach, beforeEach } from 'vitest';
import { type BlockDevice, type Client, connect, type Device } from '../../src/client/index.js';
import { type Connection, type ScriptedOptions, ScriptedServer, type Submitted } from './scripted-server.js';

export let server: ScriptedServer;
export let client: Client;
export let device: Device;
export let disk: BlockDevice;
/** What arrived and was not completed yet. */
export let held: { submitted: Submitted; connection: Connection }[];

/** Gives each test of the file a server, and a client that is connected to it. */
export function connectBeforeEach(): void {
  beforeEach(() => connectClient({}));
  afterEach(stop);
}

async function connectClient(options: ScriptedOptions): Promise<void> {
  server = await ScriptedServer.start(options);
  client = await connect({ socket: server.path });
}

/** A server, a client, and a device that it has opened. */
export async function start(options: ScriptedOptions = {}, queueEntries = 256): Promise<void> {
  await connectClient(options);
  device = await client.openDevice('nvme0', { queueEntries });
  disk = device.share(0);
  held = [];
}

/** From now on nothing is completed before {@link release}. */
export function hold(): void {
  server.onSubmit = (submitted, connection) => held.push({ submitted, connection });
}

/** Completes the oldest message that is held. */
export function release(outcome?: Parameters<Connection['complete']>[1]): void {
  const next = held.shift();
  next?.connection.complete(next.submitted, outcome);
}

export async function stop(): Promise<void> {
  await client.close();
  await server.stop();
}

/** Entries of the messages that are held. */
export const entriesHeld = (): number => held.reduce((sum, { submitted }) => sum + submitted.entries.length, 0);
