/** A message that the server does not take: what the program is told of it. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { connect, ConnectionError, RefusedError } from '../../../src/client/index.js';
import { World } from '../session/world.js';
import { errorOf } from '../../support/settled.js';

let world: World;

beforeEach(async () => {
  world = await World.create();
});

afterEach(() => world.end());

const tooLarge = { code: 'messageTooLarge', number: 101, field: 'messageBytes', severity: 'fault' };

it('a message above the limit ends the connection with an error that names the limit and says what to do', async () => {
  const client = await connect({ socket: world.path, tenant: 'alice' });
  const error = await errorOf(client.deviceState('x'.repeat(5_000_000)));
  expect(error).toBeInstanceOf(ConnectionError);
  expect(error).toMatchObject({ code: 'connectionClosed', severity: 'fault', field: 'messageBytes', value: '4194304' });
  expect(error.message).toContain('the message is longer than the limit (messageBytes = 4194304); send smaller batches');
  expect(error.cause).toBeInstanceOf(RefusedError);
  expect(error.cause).toMatchObject(tooLarge);
  expect(client.limits.messageBytes).toBe(4_194_304);
  expect(client.connected).toBe(false);
  await client.close();
});

it('a hello above its limit does, too', async () => {
  const error = await errorOf(connect({ socket: world.path, tenant: 'alice', name: 'x'.repeat(1_000_000) }));
  expect(error).toMatchObject({ code: 'connectionClosed', value: '65536', cause: tooLarge });
});
