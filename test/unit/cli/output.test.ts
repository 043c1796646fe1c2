import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adminSocketPath } from '../../../src/cli/admin-client.js';
import { CliError, failureOf } from '../../../src/cli/failure.js';
import { hasColours, table } from '../../../src/cli/output.js';
import { prepareSample } from '../../../src/cli/sample.js';
import { createLog, prettyLine } from '../../../src/server/log.js';
import { printable } from '../../../src/server/text.js';

describe('colours', () => {
  it.each<[object, NodeJS.ProcessEnv, boolean]>([
    [{ isTTY: true }, {}, true],
    [{ isTTY: false }, {}, false],
    [{}, {}, false],
    [{ isTTY: true }, { NO_COLOR: '1' }, false],
    [{ isTTY: true }, { NO_COLOR: '' }, true],
    [{ isTTY: true }, { TERM: 'dumb' }, false],
  ])('%j %j: %s', (stream, environment, expected) => expect(hasColours(stream, environment)).toBe(expected));
});

describe('tables', () => {
  it('align columns, numbers to the right, without trailing blanks', async () => {
    expect(
      await table(
        ['A', 'NUMBER', 'C'],
        [
          ['x', 5, ''],
          ['longer', 1234567, 'y'],
        ],
      ),
    ).toBe('A        NUMBER  C\nx             5\nlonger  1234567  y');
  });
  it('show control characters as their codes', () => expect(printable('a\u0007b\u009bc\nd\u2028e é')).toBe('a\\u0007b\\u009bc\\u000ad\\u2028e é'));
});

describe('failures', () => {
  it.each([
    [new CliError('what', 'do it', 2), { what: 'what', remedy: 'do it', exitCode: 2 }],
    [new Error('it broke; mend it'), { what: 'it broke', remedy: 'mend it', exitCode: 1 }],
    [Object.assign(new Error('w'), { remedy: 'r' }), { what: 'w', remedy: 'r', exitCode: 1 }],
    [
      Object.assign(new Error('c:1:1: x; y'), { name: 'ConfigError' }),
      { what: 'c:1:1: x; y', remedy: 'correct the configuration; nothing was changed', exitCode: 2 },
    ],
    ['text', { what: 'text', remedy: 'run the command with --help, or see docs/operations.md', exitCode: 1 }],
  ])('%s', (error, expected) => expect(failureOf(error)).toEqual(expected));
});

describe('the admin socket is looked for', () => {
  let folder: string;
  let before: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringwarden-path-'));
    before = process.cwd();
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  });

  it('where it is named, in the sample, in the session, in the system', () => {
    const session = join(folder, 'run');
    mkdirSync(join(session, 'ringwarden'), { recursive: true });
    expect(adminSocketPath(undefined, {})).toBe('/run/ringwarden/admin.sock');
    writeFileSync(join(session, 'ringwarden', 'admin.sock'), '');
    expect(adminSocketPath(undefined, { XDG_RUNTIME_DIR: session })).toBe(join(session, 'ringwarden', 'admin.sock'));
    mkdirSync('ringwarden-data');
    writeFileSync(join('ringwarden-data', 'admin.sock'), '');
    expect(adminSocketPath(undefined, { XDG_RUNTIME_DIR: session })).toBe(join(process.cwd(), 'ringwarden-data', 'admin.sock'));
    expect(adminSocketPath(undefined, { RINGWARDEN_ADMIN_SOCKET: '/e' })).toBe('/e');
    expect(adminSocketPath('/x', { RINGWARDEN_ADMIN_SOCKET: '/e' })).toBe('/x');
  });

  it('and the sample is made once, private, and then left alone', () => {
    const file = prepareSample(join(folder, 'data'));
    expect(statSync(join(folder, 'data')).mode & 0o777).toBe(0o700);
    expect(readFileSync(file, 'utf8')).toContain('"alice"');
    writeFileSync(file, 'mine');
    expect(prepareSample(join(folder, 'data'))).toBe(file);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    writeFileSync(join(folder, 'file'), '');
    expect(() => prepareSample(join(folder, 'file', 'data'))).toThrow(/the sample cannot be made in .* \(ENOTDIR\)/);
  });
});

describe('logs', () => {
  const capture = (format: 'json' | 'pretty', level: 'debug' | 'warn' = 'debug'): { lines: string[]; log: ReturnType<typeof createLog> } => {
    const lines: string[] = [];
    return { lines, log: createLog({ level, format, destination: { write: (line) => void lines.push(line) } }) };
  };

  it('are JSON lines', () => {
    const { lines, log } = capture('json');
    log.child({ device: 'nvme0' }).warn('it\nbroke', { code: 3 });
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0])).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-.*Z$/) as string,
      device: 'nvme0',
      code: 3,
      message: 'it\nbroke',
    });
    expect(lines[0].endsWith('\n')).toBe(true);
    expect(lines[0].trimEnd()).not.toContain('\n');
  });

  it('or text, in which nobody can steer the terminal', () => {
    const { lines, log } = capture('pretty');
    log.info('ready', { path: '/x\u001b[31m', n: 1, ok: true });
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} INFO  ready path=\/x\\u001b\[31m n=1 ok=true\n$/);
    expect(prettyLine('{"level":"error","time":"2026-01-01T01:02:03.004Z","message":"m"}', true)).toBe('\u001b[31m01:02:03.004 ERROR m\u001b[0m\n');
  });

  it('leave out what is below their level', () => {
    const { lines, log } = capture('json', 'warn');
    log.debug('a');
    log.info('b');
    log.error('c');
    expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(['c']);
  });
});
