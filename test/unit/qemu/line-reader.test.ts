import * as fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LineReader } from '../../../src/hw/qemu/line-reader.js';
import { shm } from '../../../src/native/shm.js';
import { Peer } from './peer.js';

let peer: Peer;
beforeEach(() => {
  peer = new Peer();
});
afterEach(() => peer.close());

/** Receives once, and gives the lines that are whole. */
function lines(reader: LineReader): string[] {
  reader.receive();
  const found: string[] = [];
  while (reader.next()) found.push(Buffer.from(reader.bytes.subarray(reader.start, reader.end)).toString('latin1'));
  return found;
}

test('whole lines come out without their end, in either style', () => {
  const reader = new LineReader(peer.ours, 64, 'test');
  expect(reader.receive()).toBe(-1);
  expect(reader.next()).toBe(false);
  peer.say('one\r\ntwo\n\n\r\nthr');
  expect(lines(reader)).toEqual(['one', 'two', '', '']);
  expect(reader.empty).toBe(false);
  peer.say('ee\r\n');
  expect(lines(reader)).toEqual(['three']);
  expect(reader.empty).toBe(true);
});

test('however the bytes are cut, the same lines come out', () => {
  const line = fc.stringMatching(/^[a-z]{0,30}$/);
  fc.assert(
    fc.property(fc.array(line, { maxLength: 20 }), fc.array(fc.nat(40), { maxLength: 30 }), (wanted, cuts) => {
      const one = new Peer();
      const reader = new LineReader(one.ours, 32, 'test');
      const bytes = Buffer.from(wanted.map((text) => `${text}\n`).join(''));
      const found: string[] = [];
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        one.say(bytes.subarray(at, at + cut));
        at = Math.min(bytes.length, at + cut);
        for (let round = 0; round < 60; round++) found.push(...lines(reader));
      }
      one.close();
      expect(found).toEqual(wanted);
    }),
    { numRuns: 50 },
  );
});

test('a line that does not fit is refused, at every length around the limit', () => {
  for (const length of [6, 7]) {
    const one = new Peer();
    const reader = new LineReader(one.ours, 8, 'test');
    one.say(`${'x'.repeat(length)}\n`);
    expect(lines(reader)).toEqual(['x'.repeat(length)]);
    one.close();
  }
  const reader = new LineReader(peer.ours, 8, 'test');
  peer.say('12345678\n');
  expect(lines(reader)).toEqual([]);
  expect(() => reader.receive()).toThrow(expect.objectContaining({ code: 'protocol', message: expect.stringContaining('more than 8') }));
});

test('the end of the stream is an error, after the lines before it', () => {
  const reader = new LineReader(peer.ours, 64, 'test');
  peer.say('last\nhalf');
  peer.end();
  expect(lines(reader)).toEqual(['last']);
  expect(() => reader.receive()).toThrow(expect.objectContaining({ code: 'lost' }));
});

test('a connection that is reset has ended', () => {
  const reader = new LineReader(peer.ours, 64, 'test');
  shm().send(peer.ours, new Uint8Array(1), 0, 1);
  peer.end(); // with a byte unread, which resets a Unix socket
  expect(() => shm().receive(peer.ours, new Uint8Array(1), 0, 1)).toThrow(expect.objectContaining({ code: 'ECONNRESET' }));
  expect(() => reader.receive()).toThrow(expect.objectContaining({ code: 'lost' }));
});
