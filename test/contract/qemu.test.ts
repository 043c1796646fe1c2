import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { openQemu, prepare } from '../../src/hw/qemu/index.js';
import { hasQemu, qemuName } from '../support/qemu.js';
import { qemuDefaults } from '../support/qemu-world.js';
import { backingContract } from './backing.js';

const MIB = 1_048_576;

describe.skipIf(!hasQemu)(qemuName, () => {
  backingContract(
    'QEMU',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ringwarden-'));
      const prepared = await prepare({ ...qemuDefaults, drives: [{ file: join(folder, 'image'), bytes: 16 * MIB, blockBytes: 512 }] });
      const end = async (): Promise<void> => {
        await prepared.dispose();
        rmSync(folder, { recursive: true });
      };
      return { backing: openQemu(prepared.handle), end };
    },
    { autonomous: true },
  );
});
