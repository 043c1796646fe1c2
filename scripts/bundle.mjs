/**
 * Puts the modules of the command and of its threads together: dist/program/*.js from the compiled ones in dist. What is imported later (`import()`) becomes a
 * file of its own. Packages stay what they are and where they are, but for zod, whose ninety files take as long to load as all of the server's.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { rolldown } from 'rolldown';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const external = Object.keys(dependencies).filter((name) => name !== 'zod');

const input = {
  ringwarden: join(dist, 'cli/main.js'),
  'engine-thread': join(dist, 'server/engine/thread.js'),
  'device-thread': join(dist, 'hw/emulated/thread.js'),
};

rmSync(join(dist, 'program'), { recursive: true, force: true });
const bundle = await rolldown({ input, platform: 'node', external: external.map((name) => new RegExp(`^${name}(/|$)`)) });
await bundle.write({ dir: join(dist, 'program'), format: 'esm', sourcemap: true, chunkFileNames: '[name]-[hash].js' });
await bundle.close();
