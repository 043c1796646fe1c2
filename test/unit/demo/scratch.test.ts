import { mkdtempSync, rmSync } from 'node:fs';
import { test } from 'vitest';
import { RawWorld } from '/work/main/src/cli/demo/raw/world.js';
import * as m from '/work/main/src/cli/demo/raw/memory-damage.js';
import * as b from '/work/main/src/cli/demo/raw/block-damage.js';
import * as c from '/work/main/src/cli/demo/raw/control-damage.js';
for (const kind of (process.env.KINDS ?? 'emulated,qemu').split(',') as ('emulated'|'qemu')[]) test(kind, async () => {
  const folder = mkdtempSync('/tmp/rwdemo');
  let n = 0; let world: RawWorld | undefined;
  for (const [name, run] of [...Object.entries(m), ...Object.entries(b), ...Object.entries(c)]) {
    const t = performance.now();
    let fresh = false;
    if (!world) { world = await RawWorld.start(kind, folder, n++); fresh = true; }
    const t1 = performance.now();
    let out: string;
    try { out = await run(world); } catch (e) { out = 'THREW ' + (e as Error).stack; }
    const t2 = performance.now();
    let healthy = false;
    try { world.restore(); healthy = await world.healthy(); } catch (e) { console.log('health', e); }
    console.log(kind, name.padEnd(24), out, healthy ? 'healthy' : 'SPOILED', fresh ? `start ${(t1-t).toFixed(0)}` : '', (t2 - t1).toFixed(0) + 'ms', (performance.now()-t2).toFixed(0)+'ms');
    if (!healthy) { await world.dispose(); world = undefined; }
  }
  await world?.dispose();
  rmSync(folder, { recursive: true });
}, 120000);
