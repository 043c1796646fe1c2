/**
 * QEMU's machine protocol (QEMU, docs/interop/qmp-spec.rst), without an event loop: commands with their answers, and the removal of devices.
 *
 * Commands go one at a time: a descriptor that travels with one would be dropped if another arrived before QEMU took it.
 */
import { shm } from '../../native/shm.js';
import { HardwareError, type Clock, type Task } from '../task.js';
import { LineReader } from './line-reader.js';
import type { Fate } from './process.js';

/** Answers to the commands used here are short; the greeting is the longest line. */
const LINE_BYTES = 65_536;

type Fields = Readonly<Record<string, unknown>>;

/** QEMU's own "no" to a command. */
export class QmpError extends HardwareError {
  constructor(command: string, reason: string) {
    super('protocol', `QEMU refuses ${command}: ${reason}`);
  }
}

export class Qmp {
  readonly #socket: number;
  readonly #fate: Fate;
  readonly #reader: LineReader;
  readonly #clock: Clock;
  readonly #limit: number;
  #greeting: Fields | undefined;
  #nextId = 1;
  /** The command under way: its id, and its answer when it has come. */
  #pending: { readonly id: number; answer?: Fields } | undefined;
  /** Devices whose removal somebody waits for, and whether it has happened. */
  readonly #removals = new Map<string, boolean>();

  /** `limit`: how long QEMU may take for a command, milliseconds. */
  constructor(socket: number, fate: Fate, clock: Clock, limit: number) {
    this.#socket = socket;
    this.#fate = fate;
    this.#reader = new LineReader(socket, LINE_BYTES, 'QMP');
    this.#clock = clock;
    this.#limit = limit;
  }

  /** Waits for the greeting and leaves negotiation mode; the first thing on a new connection. Returns QEMU's version. */
  *negotiate(): Task<string> {
    yield* this.#await('the greeting', () => this.#greeting !== undefined);
    const greeting = this.#greeting as Fields;
    yield* this.execute('qmp_capabilities', {});
    const version = fields(fields(fields(greeting['QMP'])['version'])['qemu']);
    return ['major', 'minor', 'micro'].map((part) => String(version[part])).join('.');
  }

  /**
   * Runs a command, with a descriptor if given, and returns what it returns.
   * @throws QmpError when QEMU refuses it, HardwareError `lost`.
   */
  *execute(command: string, parameters: Fields, descriptor?: number): Task<unknown> {
    while (this.#pending !== undefined) {
      this.#throwIfLost();
      yield 1;
    }
    const pending: { readonly id: number; answer?: Fields } = { id: this.#nextId++ };
    this.#pending = pending;
    try {
      yield* this.#send(JSON.stringify({ execute: command, arguments: parameters, id: pending.id }), descriptor);
      yield* this.#await(command, () => pending.answer !== undefined);
    } finally {
      this.#pending = undefined;
    }
    const { return: result, error } = pending.answer as Fields;
    if (error !== undefined) throw new QmpError(command, String(fields(error)['desc']));
    return result;
  }

  /** From now on the removal of this device is noted. */
  expectRemoval(device: string): void {
    this.#removals.set(device, false);
  }

  /** Whether the device has gone since. */
  wasRemoved(device: string): boolean {
    return this.#removals.get(device) === true;
  }

  forgetRemoval(device: string): void {
    this.#removals.delete(device);
  }

  /** Takes what QEMU says; how many lines. Never throws: what goes wrong loses the device. */
  drain(): number {
    if (this.#fate.lost !== undefined) return 0;
    let taken = 0;
    try {
      this.#reader.receive();
      for (; this.#reader.next(); taken++) this.#takeLine(this.#reader.bytes.subarray(this.#reader.start, this.#reader.end));
    } catch (error) {
      this.#fate.lose(error instanceof Error ? error.message : String(error));
    }
    return taken;
  }

  /** Nothing was received but whole lines: another reader could go on with the socket. */
  get empty(): boolean {
    return this.#reader.empty;
  }

  *#await(what: string, ready: () => boolean): Task<void> {
    const deadline = this.#clock() + this.#limit;
    for (;;) {
      this.drain();
      if (ready()) return;
      if (this.#clock() >= deadline) this.#fate.lose(`QMP: no answer to ${what} within ${this.#limit} ms`);
      this.#throwIfLost();
      yield 1;
    }
  }

  *#send(command: string, descriptor: number | undefined): Task<void> {
    const line = new TextEncoder().encode(`${command}\n`);
    const deadline = this.#clock() + this.#limit;
    for (let sent = 0; sent < line.length;) {
      this.#throwIfLost();
      const taken = this.#sendSome(line, sent, sent === 0 ? descriptor : undefined);
      if (taken > 0) sent += taken;
      else if (this.#clock() >= deadline) this.#fate.lose('QMP: QEMU does not read what it is sent');
      else yield 1;
    }
  }

  #sendSome(line: Uint8Array, at: number, descriptor: number | undefined): number {
    try {
      if (descriptor !== undefined) return shm().sendDescriptors(this.#socket, line, [descriptor]);
      return shm().send(this.#socket, line, at, line.length - at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE' || code === 'ECONNRESET') this.#fate.lose('QMP: QEMU has ended');
      else throw error; // the descriptor is not one
      return 0;
    }
  }

  #throwIfLost(): void {
    if (this.#fate.lost !== undefined) throw new HardwareError('lost', this.#fate.lost);
  }

  /** @throws HardwareError `protocol`. */
  #takeLine(line: Uint8Array): void {
    const message = parse(line);
    if ('QMP' in message) this.#greeting ??= message;
    else if ('event' in message) this.#takeEvent(message);
    else if (this.#pending !== undefined && message['id'] === this.#pending.id) this.#pending.answer = message;
    // What is left answers a command that nobody waits for any more: its task was abandoned.
  }

  #takeEvent(message: Fields): void {
    if (message['event'] !== 'DEVICE_DELETED') return;
    const { device } = fields(message['data']);
    if (typeof device === 'string' && this.#removals.has(device)) this.#removals.set(device, true);
  }
}

function parse(line: Uint8Array): Fields {
  const text = Buffer.from(line.buffer, line.byteOffset, line.length).toString('utf8');
  try {
    const message: unknown = JSON.parse(text);
    if (typeof message === 'object' && message !== null && !Array.isArray(message)) return message as Fields;
  } catch {
    // Said below.
  }
  throw new HardwareError('protocol', `QMP: QEMU says ${JSON.stringify(text.slice(0, 60))}`);
}

/** An object's fields; none for anything else. */
function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}
