import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/server/admin/metrics.js';
import { ROUTES } from '../../../src/server/admin/routes.js';
import { takeSnapshot } from '../../../src/server/admin/snapshot.js';
import { configJsonSchema, parseConfiguration } from '../../../src/server/config/index.js';
import { createWorld } from '../admin/support.js';
import { ringwarden } from '../cli/support.js';
import { environment } from './support.js';

const page = (name: string): string => readFileSync(fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url)), 'utf8');
const rowsOf = (text: string): string[] => text.split('\n').filter((line) => line.startsWith('|'));

interface Node {
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
  readonly oneOf?: readonly Node[];
  readonly description?: string;
}

describe('the documentation', () => {
  it('has a row for every key of the configuration, with what the schema says of it', () => {
    const rows = rowsOf(page('configuration.md'));
    const missing: string[] = [];
    const walk = (node: Node): void => {
      for (const [key, child] of Object.entries(node.properties ?? {})) {
        const described = rows.some((row) => row.startsWith(`| \`${key}\` |`) && row.includes(child.description ?? ''));
        // Of a token, the two keys are told in the text.
        if (!described && key !== '$schema' && key !== 'sha256' && key !== 'file') missing.push(key);
        walk(child);
      }
      for (const child of [node.items, ...(node.anyOf ?? []), ...(node.oneOf ?? [])]) if (child !== undefined) walk(child);
    };
    walk(configJsonSchema());
    expect(missing).toEqual([]);
  });

  it('shows a configuration that is good', () => {
    const [, example] = /```jsonc\n([^]*?)```/.exec(page('configuration.md')) ?? [];
    const { tenants } = parseConfiguration('/tmp/ringwarden.jsonc', example.replace('/srv/', '/tmp/'), { ...environment, groupId: () => 42 });
    expect(tenants.map(({ name, shares }) => [name, shares[0].blocks])).toEqual([
      ['alice', 8_388_608],
      ['bob', 8_388_608],
    ]);
  });

  it('names every request of the admin socket, and no other', () => {
    const told = new Set(page('operations.md').match(/(?:GET|POST) \/[a-z:/]+/g));
    expect([...told].sort()).toEqual(['GET /metrics', ...ROUTES.map(({ method, path }) => `${method} ${path}`)].sort());
  });

  it('names every metric', async () => {
    const world = createWorld();
    const { text } = await createMetrics().scrape(await takeSnapshot(world.sources));
    world.audit.close();
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(names.length).toBeGreaterThan(15);
    const operations = page('operations.md');
    expect(names.filter((name) => !operations.includes(`\`${name}\``))).toEqual([]);
  });

  it('names every command', async () => {
    const { out } = await ringwarden('--help');
    const commands = [...out.slice(out.indexOf('Commands:'), out.indexOf('Exit status')).matchAll(/^ {2}([a-z]+)/gm)]
      .map(([, name]) => name)
      .filter((name) => name !== 'help');
    expect(commands.length).toBeGreaterThan(10);
    const operations = page('operations.md');
    expect(commands.filter((name) => !operations.includes(`\`ringwarden ${name}`))).toEqual([]);
  });
});
