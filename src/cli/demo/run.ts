/** The demonstration, from the first process to the last file. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { judgeMediated, judgeRaw } from './judge.js';
import type { DemoServer } from './mediated/server.js';
import { MediatedWorld } from './mediated/world.js';
import { Laboratory } from './raw/laboratory.js';
import type { BackingKind } from './raw/world.js';
import type { Attack, AttackResult, DemoReport } from './types.js';

export interface RunOptions {
  readonly backing: BackingKind;
  readonly attacks: readonly Attack[];
  /** The workload goes on for so long at least, also when the attacks are over earlier. */
  readonly seconds: number;
  readonly onStart: (attack: Attack, index: number) => void;
  readonly onResult: (result: AttackResult) => void;
  /** The attacks are over, the workload is not yet. */
  readonly onWait: () => void;
}

/** Runs the attacks while two tenants work. Nothing is left behind, however it ends. @throws CliError, HardwareError */
export async function runDemo(options: RunOptions): Promise<DemoReport> {
  const folder = mkdtempSync(join(tmpdir(), 'ringwarden-demo-'));
  let server: DemoServer | undefined;
  const cleanUp = (): void => {
    server?.kill();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
  };
  const interrupted = (signal: NodeJS.Signals): void => {
    cleanUp();
    process.kill(process.pid, signal);
  };
  process.once('exit', cleanUp);
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  const laboratory = new Laboratory(options.backing, folder);
  try {
    // First of all: without the backing there is nothing to show.
    await laboratory.world();
    const world = await MediatedWorld.start(options.backing, folder, (started) => {
      server = started;
    });
    return await attackAll(options, laboratory, world);
  } finally {
    await laboratory.dispose();
    await server?.stop();
    process.off('exit', cleanUp);
    process.off('SIGINT', interrupted);
    process.off('SIGTERM', interrupted);
    cleanUp();
  }
}

async function attackAll(
  { backing, attacks, seconds, onStart, onResult, onWait }: RunOptions,
  laboratory: Laboratory,
  world: MediatedWorld,
): Promise<DemoReport> {
  const results: AttackResult[] = [];
  const end = performance.now() + seconds * 1_000;
  for (const [index, attack] of attacks.entries()) {
    onStart(attack, index);
    const raw = await judgeRaw(attack, await laboratory.world(), backing);
    await laboratory.tidy(raw.outcome);
    const mediated = await judgeMediated(attack, world);
    const result = { attack, raw: raw.outcome, mediated: mediated.outcome, code: mediated.code, findings: [...raw.findings, ...mediated.findings] };
    results.push(result);
    onResult(result);
    if (world.isDown) break;
  }
  onWait();
  await delay(Math.max(0, end - performance.now()));
  const findings = await world.stop();
  return { backing, workload: world.workload.report(), results, findings };
}
