/** Every program that a newcomer is shown runs against the sample server, and prints what it should. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAIN, ROOT, Workspace, type Result } from '../support/processes.js';

const FOLDER = join(ROOT, 'examples');

/** A whole output, by its lines. */
const lines = (...patterns: readonly string[]): RegExp => new RegExp(`^${patterns.join('\n')}\n$`);

/** What each example prints; once for each time it is run. */
const OUTPUTS: Readonly<Record<string, readonly RegExp[]>> = {
  'hello.mjs': [lines('block 0 of 512 MiB says: hello, ring')],
  'batch.mjs': [
    lines(
      '34 requests in one batch: 32 of 32 blocks read back as written',
      'block 5 compared with itself: true, block 6 with something else: false',
      'a request with unmapped memory: \\w+; the others of its batch were done',
    ),
  ],
  // Interrupts come between the others, at any place.
  'events.mjs': [/^[^]*: write, code 0\n[^]*: flush, code 0\n[^]*event: reset\n[^]*: read, code 0\n[^]*3 completions and at least one interrupt\n$/],
  'key-value.mjs': [
    lines('this is run 1 of this store; the last one was by {"pid":\\d+,"node":"v[\\d.]+"}', 'a key that was never put: undefined'),
    /^this is run 2 of this store; /,
  ],
  'hardware-ring.mjs': [
    lines(
      'write of block 3, 1 of them: Successful Completion, phase 1',
      'read of block 3, 1 of them: Successful Completion, phase 1',
      'signals: at least one',
      'after a reset: revoked',
      'the next one is of the new generation: true',
    ),
  ],
  'two-tenants.mjs': [
    lines('block 7 of Alice: Alice was here\\.', 'block 7 of Bob:   Bob was here\\.', 'Alice naming the memory of Bob: refused, \\w+'),
  ],
};

let space: Workspace;
beforeAll(async () => {
  space = new Workspace();
  await space.spawn(process.execPath, [MAIN, 'serve', '--sample']).says(/is ready\./);
});
afterAll(() => space.close());

/** As a program of the package's folder, where `ringwarden/client` is found. */
function run(...args: string[]): Promise<Result> {
  return space.run(process.execPath, args, { cwd: ROOT, env: { RINGWARDEN_SOCKET: space.path('ringwarden-data/ringwarden.sock') } });
}

describe('examples', () => {
  it('are all run here', () => {
    expect(Object.keys(OUTPUTS).toSorted()).toEqual(
      readdirSync(FOLDER)
        .filter((name) => name.endsWith('.mjs'))
        .toSorted(),
    );
  });

  it.each(Object.entries(OUTPUTS))('%s', async (name, outputs) => {
    for (const output of outputs) {
      const result = await run(join(FOLDER, name));
      expect(result, result.stderr).toMatchObject({ status: 0, stderr: '' });
      expect(result.stdout).toMatch(output);
    }
  });
});

describe('documents', () => {
  it('README.md: the program', async () => {
    const [, program = ''] = /```js\n([^]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
    expect(await run('--input-type=module', '-e', program)).toMatchObject({ status: 0, stdout: 'the same\n', stderr: '' });
  });

  const page = readFileSync(join(ROOT, 'docs', 'sdk.md'), 'utf8');
  const programs = [...page.matchAll(/```js\n([^]*?)```\n\n```text\n([^]*?)```/g)].map(
    ([, program, output], index) => [index + 1, program, output] as const,
  );

  it.each(programs)('docs/sdk.md: program %i', async (_number, program, output) => {
    expect(await run('--input-type=module', '-e', program)).toMatchObject({ status: 0, stdout: output, stderr: '' });
  });
});
