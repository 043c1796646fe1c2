/** Every program in docs/sdk.md runs, and prints what the page says. */
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import * as sdk from '../../../src/client/index.js';
import { ScriptedServer, share } from '../../support/scripted-server.js';

const page = readFileSync(new URL('../../../docs/sdk.md', import.meta.url), 'utf8');
const programs = [...page.matchAll(/```js\n([^]*?)```\n\n```text\n([^]*?)```/g)].map(
  ([, program, output], index) => [index + 1, program, output] as const,
);
const IMPORT = /^import (\{[^}]*\}) from 'ringwarden\/client';\n/;

async function run(program: string): Promise<string> {
  const lines: string[] = [];
  const console = { log: (...values: unknown[]) => lines.push(values.map((each) => (typeof each === 'string' ? each : inspect(each))).join(' ')) };
  const names = IMPORT.exec(program)?.[1];
  const body = `const ${names} = sdk;\n${program.replace(IMPORT, '')}`;
  const AsyncFunction = Object.getPrototypeOf(run).constructor as new (...parts: string[]) => (...values: unknown[]) => Promise<void>;
  await new AsyncFunction('sdk', 'console', body)(sdk, console);
  return `${lines.join('\n')}\n`;
}

describe('docs/sdk.md', () => {
  it('has a program and its output in every block of JavaScript', () => {
    const blocks = page.split('```js\n').length - 1;
    expect(blocks).toBeGreaterThan(5);
    expect(programs.length).toBe(blocks);
    for (const [, program] of programs) expect(program).toMatch(IMPORT);
  });

  it.each(programs)('program %i prints what the page says', async (_index, program, output) => {
    const server = await ScriptedServer.start({ shares: [share(0, 'data', 4_096, 4_096, 128)] });
    server.onSubmit = (submitted, connection) => {
      connection.event('interrupt', { lease: submitted.lease, vector: 0, count: submitted.entries.length });
      connection.complete(submitted);
    };
    server.script('resetLease', (message, connection) => {
      connection.event('reset', { lease: message['lease'], generation: 2, reason: 'asked for' });
      return undefined;
    });
    const before = process.env['RINGWARDEN_SOCKET'];
    process.env['RINGWARDEN_SOCKET'] = server.path;
    try {
      expect(await run(program)).toBe(output);
    } finally {
      if (before === undefined) delete process.env['RINGWARDEN_SOCKET'];
      else process.env['RINGWARDEN_SOCKET'] = before;
      await server.stop();
    }
  });
});
