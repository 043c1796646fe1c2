/** The demonstration's eyes: nothing that changed or leaked may pass them. */
import { describe, expect, test } from 'vitest';
import { Secret, changes, firstDifference, takeChanges } from '../../../src/cli/demo/canary.js';

const PAGE = 4_096;

describe('a canary', () => {
  test('tells of any single byte that changed', async () => {
    const expected = new Secret('alice').fill(PAGE, 1);
    for (let at = 0; at < PAGE; at++) {
      const found = Buffer.from(expected);
      found[at] ^= 1 << (at % 8);
      const canary = { name: 'memory', expected, read: () => found };
      expect(await changes([canary])).toEqual([`memory changed at byte ${at}`]);
    }
    expect(await changes([{ name: 'memory', expected, read: () => Buffer.from(expected) }])).toEqual([]);
  });

  test('tells of bytes that are missing, too many, or cannot be read', async () => {
    const expected = Buffer.alloc(64, 1);
    expect(firstDifference(expected, expected.subarray(0, 63))).toBe(63);
    expect(firstDifference(expected, Buffer.alloc(65, 1))).toBe(64);
    expect(firstDifference(expected, Buffer.alloc(0))).toBe(0);
    const unreadable = { name: 'blocks', expected, read: () => Promise.reject(new Error('the device is gone')) };
    expect(await changes([unreadable])).toEqual(['blocks cannot be read: the device is gone']);
  });

  test('is looked at whatever the one before it says', async () => {
    const expected = Buffer.alloc(8, 1);
    const bad = { name: 'one', expected, read: () => Buffer.alloc(8, 2) };
    expect(await changes([bad, { ...bad, name: 'two' }])).toHaveLength(2);
  });
});

describe('a canary that changed', () => {
  test('is told of once, and watched from there on', async () => {
    const memory = Buffer.alloc(64, 1);
    const canary = { name: 'memory', expected: Buffer.from(memory), read: () => memory };
    memory[5] = 2;
    expect(await takeChanges([canary])).toEqual(['memory changed at byte 5']);
    expect(await takeChanges([canary])).toEqual([]);
    memory[5] = 1;
    expect(await takeChanges([canary])).toEqual(['memory changed at byte 5']);
  });
});

describe('a secret', () => {
  test('is found wherever any line of it is', () => {
    const secret = new Secret('alice');
    const bytes = secret.fill(PAGE, 7);
    for (let line = 0; line < PAGE; line += 64) {
      const loot = Buffer.concat([Buffer.alloc(13, 0xff), bytes.subarray(line, line + 64), Buffer.alloc(5)]);
      expect(secret.isIn(loot)).toBe(true);
    }
    // Any 79 bytes in a row hold one mark whole.
    for (let at = 0; at + 79 <= 1_024; at++) expect(secret.isIn(bytes.subarray(at, at + 79))).toBe(true);
  });

  test('is not found elsewhere, nor in the secret of another owner or run', () => {
    const secret = new Secret('alice');
    expect(secret.isIn(Buffer.alloc(PAGE))).toBe(false);
    expect(secret.isIn(new Secret('alice').fill(PAGE, 7))).toBe(false);
    expect(secret.isIn(new Uint8Array(0))).toBe(false);
  });

  test('is no line twice, and differs from place to place', () => {
    const secret = new Secret('bob');
    const bytes = Buffer.concat([secret.fill(PAGE, 1), secret.fill(PAGE, 2)]);
    const lines = new Set<string>();
    for (let at = 0; at < bytes.length; at += 64) lines.add(bytes.subarray(at, at + 64).toString('hex'));
    expect(lines.size).toBe(bytes.length / 64);
  });
});
