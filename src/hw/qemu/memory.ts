/**
 * Memory that the device can reach: each file is a memory module of its own (pc-dimm) that is plugged into the running machine.
 *
 * Unplugging has three steps that each end on their own: the module leaves the machine's address space, its backend object is deleted, and
 * QEMU unmaps the file. Only after the last one can no DMA that was under way reach the file any more.
 */
import { fstatSync } from 'node:fs';
import { shm } from '../../native/shm.js';
import type { DmaMemory } from '../backing.js';
import { HardwareError, sleep, until, type Clock, type Task } from '../task.js';
import { MEMORY_HOTPLUG_CONTROL_PORT, MEMORY_HOTPLUG_EJECT, MEMORY_HOTPLUG_SELECT_PORT } from './address-map.js';
import { Placement, type Place } from './placement.js';
import { fileInMaps, type QemuProcess } from './process.js';
import { QmpError, type Qmp } from './qmp.js';
import type { Qtest } from './qtest.js';

const PAGE_BYTES = 4096;
/** A killed process needs this long at most to be gone; then something is wrong with the machine. */
const DEATH_MS = 10_000;
/** How often QEMU's mappings are looked at while a file leaves them. */
const UNMAP_POLL_MS = 20;

interface Module {
  readonly place: Place;
  /** The file, as /proc/PID/maps shows it. */
  readonly file: string;
  /** Names in QEMU. They are never used twice. */
  readonly device: string;
  readonly backend: string;
}

export class HotplugMemory {
  readonly #qtest: Qtest;
  readonly #qmp: Qmp;
  readonly #process: QemuProcess;
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #placement = new Placement();
  readonly #modules = new Map<DmaMemory, Module>();
  /** Files that are attached, or on their way to it or from it: QEMU's mappings tell files apart, not their uses. */
  readonly #files = new Set<string>();
  #serial = 0;

  /** `limit`: how long QEMU may take to let go of a file, milliseconds. */
  constructor(qtest: Qtest, qmp: Qmp, process: QemuProcess, clock: Clock, limit: number) {
    this.#qtest = qtest;
    this.#qmp = qmp;
    this.#process = process;
    this.#clock = clock;
    this.#limit = limit;
  }

  /** As {@link Backing.attach}; always contiguous. */
  *attach(fd: number, bytes: number): Task<DmaMemory> {
    const allowed = Number.isSafeInteger(bytes) && bytes > 0 && bytes % PAGE_BYTES === 0;
    if (!allowed) throw new RangeError(`${bytes} is not a positive multiple of ${PAGE_BYTES} bytes`);
    // QEMU would make the file longer or leave a part of it out.
    if (fstatSync(fd).size !== bytes) throw new RangeError(`the file does not have ${bytes} bytes`);
    if (this.#process.lost !== undefined) throw new HardwareError('lost', this.#process.lost);
    const file = fileInMaps(fd);
    if (this.#files.has(file)) throw new HardwareError('busy', 'the file is attached already');
    const place = this.#placement.take(bytes);
    this.#files.add(file);
    let buffer: ArrayBuffer | undefined;
    try {
      buffer = shm().map(fd, 0, bytes, true);
      const name = this.#serial++;
      const module: Module = { place, file, device: `module${name}`, backend: `memory${name}` };
      yield* this.#plug(module, fd);
      const memory: DmaMemory = { bytes, buffer, ...pagesFrom(place.address, bytes / PAGE_BYTES) };
      this.#modules.set(memory, module);
      return memory;
    } catch (error) {
      if (buffer !== undefined) shm().unmap(buffer);
      this.#release(place, file);
      throw error;
    }
  }

  /** As {@link Backing.detach}. If QEMU does not let go in time, it is killed, and then has let go. */
  *detach(memory: DmaMemory): Task<void> {
    const module = this.#modules.get(memory);
    if (module === undefined) throw new RangeError('this memory is not attached');
    this.#modules.delete(memory); // whoever asks twice is told so
    try {
      yield* this.#unplug(module);
    } catch (error) {
      if (!(error instanceof HardwareError)) throw error;
      this.#process.lose(error.message);
      yield* until(this.#clock, DEATH_MS, 'the end of QEMU', () => this.#process.hasEnded());
    }
    shm().unmap(memory.buffer);
    this.#release(module.place, module.file);
  }

  /** Unmaps everything here, for the end. QEMU is dead or about to be. */
  dispose(): void {
    for (const { buffer } of this.#modules.keys()) shm().unmap(buffer);
    this.#modules.clear();
  }

  #release(place: Place, file: string): void {
    this.#placement.release(place);
    this.#files.delete(file);
  }

  /** A failure takes back what was done before it; a failure of that loses the device. */
  *#plug({ place, device, backend }: Module, fd: number): Task<void> {
    const inherited = passedDescriptor(yield* this.#qmp.execute('add-fd', {}, fd));
    try {
      const file = { 'mem-path': `/proc/self/fd/${inherited.fd}`, share: true, size: place.bytes };
      yield* this.#qmp.execute('object-add', { 'qom-type': 'memory-backend-file', id: backend, ...file });
      try {
        yield* this.#qmp.execute('device_add', { driver: 'pc-dimm', id: device, memdev: backend, addr: place.address, slot: place.slot });
      } catch (error) {
        yield* this.#undo('object-del', { id: backend });
        throw error;
      }
    } finally {
      // The backend has mapped the file; QEMU needs no descriptor of it.
      yield* this.#undo('remove-fd', { 'fdset-id': inherited.set });
    }
  }

  *#undo(command: string, parameters: Readonly<Record<string, unknown>>): Task<void> {
    if (this.#process.lost !== undefined) return;
    try {
      yield* this.#qmp.execute(command, parameters);
    } catch (error) {
      if (error instanceof QmpError) this.#process.lose(error.message);
    }
  }

  *#unplug({ place, file, device, backend }: Module): Task<void> {
    this.#qmp.expectRemoval(device);
    try {
      yield* this.#qmp.execute('device_del', { id: device });
      // That was a request to the operating system inside, which is not there: we answer it. Both writes in one breath, as another task
      // may be at the same registers.
      this.#qtest.postPort(MEMORY_HOTPLUG_SELECT_PORT, 4, place.slot);
      this.#qtest.postPort(MEMORY_HOTPLUG_CONTROL_PORT, 1, MEMORY_HOTPLUG_EJECT);
      yield* this.#until(`QEMU to remove ${device}`, () => this.#qmp.wasRemoved(device));
    } finally {
      this.#qmp.forgetRemoval(device);
    }
    yield* this.#qmp.execute('object-del', { id: backend });
    yield* this.#awaitUnmapped(file);
  }

  /** QEMU frees what was removed in batches, 50 to 110 ms later. Its mappings are looked at rarely: reading them stops this thread for a moment. */
  *#awaitUnmapped(file: string): Task<void> {
    const deadline = this.#clock() + this.#limit;
    do {
      if (this.#clock() >= deadline) throw new HardwareError('timeout', `QEMU still maps a file ${this.#limit} ms after it was unplugged`);
      yield* sleep(this.#clock, UNMAP_POLL_MS);
      if (this.#process.lost !== undefined) throw new HardwareError('lost', this.#process.lost);
    } while (this.#process.maps(file));
  }

  *#until(what: string, ready: () => boolean): Task<void> {
    yield* until(this.#clock, this.#limit, what, () => {
      this.#qtest.drain();
      this.#qmp.drain();
      if (this.#process.lost !== undefined) throw new HardwareError('lost', this.#process.lost);
      return ready();
    });
  }
}

/** The answer of `add-fd`. @throws HardwareError `protocol`. */
function passedDescriptor(answer: unknown): { fd: number; set: number } {
  const { fd, 'fdset-id': set } = (answer ?? {}) as { fd?: unknown; 'fdset-id'?: unknown };
  if (!Number.isSafeInteger(fd) || !Number.isSafeInteger(set)) throw new HardwareError('protocol', 'QEMU does not say which descriptor it took');
  return { fd: fd as number, set: set as number };
}

/** Bus addresses of pages that follow each other. */
function pagesFrom(address: number, pages: number): { pageLow: Uint32Array; pageHigh: Uint32Array } {
  const pageLow = new Uint32Array(pages);
  const pageHigh = new Uint32Array(pages);
  for (let page = 0; page < pages; page++) {
    const at = address + page * PAGE_BYTES;
    pageLow[page] = at; // modulo 2^32
    pageHigh[page] = Math.floor(at / 2 ** 32);
  }
  return { pageLow, pageHigh };
}
