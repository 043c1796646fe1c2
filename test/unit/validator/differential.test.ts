/**
 * The validator beside an oracle that was written from the documentation alone: 200 thousand requests, or ten million with RINGWARDEN_FULL=1.
 * The seed is printed; RINGWARDEN_SEED=<number> runs the same requests again, from the one that differed.
 */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { CODES } from '../../../src/protocol/index.js';
import { differential } from '../../oracle/differential.js';
import { RULE_NAMES } from './fixture.js';

const FULL = process.env['RINGWARDEN_FULL'] === '1';
const COUNT = FULL ? 10_000_000 : 200_000;
const GIVEN = process.env['RINGWARDEN_SEED'];
const SEED = GIVEN === undefined || GIVEN === '' ? randomBytes(4).readUInt32LE() : Number(GIVEN) >>> 0;

test(`${COUNT} requests: the validator and the oracle agree on every one`, { timeout: 900_000 }, () => {
  const started = performance.now();
  const histogram = differential(SEED, COUNT);
  const total = [...histogram.values()].reduce((sum, each) => sum + each, 0);
  const table = [...histogram].toSorted(([, a], [, b]) => b - a).map(([name, times]) => `  ${name.padEnd(20)} ${String(times).padStart(9)}`);
  console.log(`RINGWARDEN_SEED=${SEED}: ${total} requests in ${((performance.now() - started) / 1000).toFixed(1)} s\n${table.join('\n')}`);

  expect(total).toBe(COUNT);
  // Every rule is reached often enough to mean something, and enough is admitted to see what admission lets through.
  for (const name of RULE_NAMES) expect(histogram.get(name) ?? 0, `${name} (${CODES[name].code})`).toBeGreaterThanOrEqual(COUNT / 2000);
  expect(histogram.get('ok') ?? 0).toBeGreaterThan(COUNT / 10);
});
