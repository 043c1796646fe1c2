/** What the machine tells the guest: which rows to run, and which devices there are for them (scripts/guest/devices.mjs, scripts/guest/rows.mjs). */
import { readFileSync } from 'node:fs';

/** The folder that guest and machine share. */
export const SHARE = '/run/guest';

interface RowFacts {
  readonly path: string;
  readonly what: string;
  /** After which it has failed. */
  readonly seconds: number;
}

export interface ProgramRow extends RowFacts {
  /** In test/guest, compiled; is run in the project's folder. */
  readonly program: string;
}

export interface TestRow extends RowFacts {
  /** A file for Vitest, all of whose tests must pass. */
  readonly tests: string;
  /** How many of them are skipped here, if any. */
  readonly skips?: number;
}

export type Row = ProgramRow | TestRow;

export interface Guest {
  readonly hasIommu: boolean;
  readonly rows: readonly Row[];
  readonly devices: {
    /** An NVMe controller and a teaching device: their addresses. */
    readonly nvme: string;
    readonly edu: string;
    /** A controller in a slot: its address, that of the slot's port, and what QEMU's `device_add` takes to put it back. */
    readonly slot: { readonly address: string; readonly port: string; readonly device: { readonly id: string; readonly [option: string]: string } };
  };
}

/** The file that a source is compiled to. */
export const compiled = (source: string): string => source.replace(/\.ts$/, '.js');

export const guest = JSON.parse(readFileSync(`${SHARE}/guest.json`, 'utf8')) as Guest;
