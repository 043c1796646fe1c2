import type { DeviceModel } from './options.js';

/** What an engine thread needs to take over a QEMU that the main thread started. Descriptors are those of the process, shared by its threads. */
export interface QemuHandle {
  readonly pid: number;
  /** QEMU's version, three numbers. */
  readonly version: string;
  readonly model: DeviceModel;
  /** Sockets of the qtest and QMP protocols, and an eventfd for each vector. They stay the main thread's; the engine duplicates them. */
  readonly qtest: number;
  readonly qmp: number;
  readonly vectors: readonly number[];
  readonly accessMilliseconds: number;
}
