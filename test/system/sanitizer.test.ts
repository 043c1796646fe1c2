/**
 * The tests of the native code once more, with the addons built for AddressSanitizer and UndefinedBehaviorSanitizer: what they find ends the process that they
 * find it in, and so the test. So do the tests of rings and event descriptors that a client attacks. Part of the full tier: building takes its time.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT, workspace, type Workspace } from '../support/processes.js';
import { fullOnly } from '../support/tier.js';

const TIMEOUT_MS = 600_000;
const ADDONS = ['shm.node', 'device.node'];
const TESTS = ['test/unit/native', 'test/unit/engine/shared-rings.test.ts', 'test/unit/engine/vector-descriptor.test.ts'];
/** Asks about the build in its folder, and of a compiler. */
const NOT_HERE = 'test/unit/native/process.test.ts';

/** The library that has to be in the process before Node; a name without a path when the compiler has none. */
const libasan = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
const hasSanitizer = isAbsolute(libasan);
const why = fullOnly || (hasSanitizer ? '' : ' (skipped: g++ has no libasan)');

/** A folder in which the addons are those with the sanitizers, and everything else is what it is here. */
function copy(space: Workspace): void {
  const { status, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts/build-native.mjs'), '--sanitize'], { encoding: 'utf8' });
  expect({ status, stderr }).toMatchObject({ status: 0 });
  for (const name of ['src', 'test', 'package.json', 'vitest.config.ts', 'tsconfig.json'])
    cpSync(join(ROOT, name), space.path(name), { recursive: true });
  mkdirSync(dirname(space.path('build/shm.node')));
  for (const addon of ADDONS) cpSync(join(ROOT, 'build/asan', addon), space.path(join('build', addon)));
  symlinkSync(join(ROOT, 'node_modules'), space.path('node_modules'));
}

/** Leaks are not looked for, as Node has its own; a fault in memory that somebody truncated is what one test waits for. */
const environment = {
  LD_PRELOAD: libasan,
  ASAN_OPTIONS: 'detect_leaks=0:handle_sigbus=0:halt_on_error=1:abort_on_error=1',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
};

describe.skipIf(why !== '')(`the addon under the sanitizers${why}`, { timeout: TIMEOUT_MS }, () => {
  test('passes its tests', async () => {
    const space = workspace();
    copy(space);
    for (const addon of ADDONS) expect(readFileSync(space.path(join('build', addon))).includes('__asan_report_load')).toBe(true);
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', '--reporter', 'json', '--exclude', NOT_HERE, ...TESTS];
    const { stdout, stderr } = await space.run(process.execPath, args, { env: environment });
    expect(stderr).not.toMatch(/AddressSanitizer|runtime error/);
    const report = JSON.parse(stdout) as {
      numTotalTests: number;
      numPassedTests: number;
      testResults: { status: string; message: string; assertionResults: { status: string; fullName: string }[] }[];
    };
    const failed = report.testResults.flatMap(({ message, assertionResults }) => [
      ...(message === '' ? [] : [message]),
      ...assertionResults.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
    ]);
    expect(failed).toEqual([]);
    expect(report.numPassedTests).toBe(report.numTotalTests);
    expect(report.numTotalTests).toBeGreaterThan(100);
  });

  test('would be told of a mistake', async () => {
    const space = workspace();
    space.file(
      'mistake.cc',
      '#include <cstdlib>\nint main(int argc, char**) { volatile char* p = static_cast<char*>(std::malloc(4)); p[3 + argc] = 1; return p[3 + argc]; }\n',
    );
    const built = await space.run('g++', ['-O1', '-fsanitize=address', '-o', 'mistake', 'mistake.cc']);
    expect(built).toMatchObject({ status: 0 });
    const { status, signal, stderr } = await space.run(space.path('mistake'), [], { env: { ASAN_OPTIONS: environment.ASAN_OPTIONS } });
    expect([status, signal]).toEqual([null, 'SIGABRT']);
    expect(stderr).toContain('heap-buffer-overflow');
  });
});
