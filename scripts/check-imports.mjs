// Import directions that never exist (docs/design.md, "Import directions"). Sees imports, re-exports, dynamic imports, and type imports.
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync } from 'oxc-parser';

const SRC = resolve(import.meta.dirname, '../src');

/** Folder -> what it may never import, as prefixes of a path below src or names of packages. */
const NEVER = [
  { from: 'protocol/', not: (to) => !to.startsWith('protocol/'), why: 'the wire contract imports nothing' },
  { from: 'validator/', not: (to) => !/^(protocol|validator)\//.test(to), why: 'the validator is pure: it imports the wire contract only' },
  {
    from: 'client/',
    not: (to) => /^(server|hw|validator|cli)\//.test(to) || to === 'native/device.ts',
    why: 'the SDK knows the wire contract, and nothing of the server',
  },
  { from: 'hw/', not: (to) => /^(server|client|cli)\//.test(to) || /^(ws|msgpackr)(\/|$)/.test(to), why: 'hardware code knows nothing of who asks' },
  ...['emulated', 'qemu', 'linux'].map((backing) => ({
    from: `hw/${backing}/`,
    not: (to) => /^hw\/(emulated|qemu|linux)\//.test(to) && !to.startsWith(`hw/${backing}/`),
    why: 'a backing knows no other backing',
  })),
  { from: '', not: (to) => to.startsWith('../test/') || to.startsWith('../bench/'), why: 'the product does not know its tests' },
];
/** Only the loaders may name a compiled addon. */
const LOADERS = /^native\//;

/** @type {string[]} */
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const problems = [];
for (const file of files) {
  const text = readFileSync(join(SRC, file), 'utf8');
  const { program, errors } = parseSync(file, text, { lang: 'ts' });
  if (errors.length > 0) problems.push(`src/${file}: ${errors[0].message}`);
  for (const { specifier, at } of sources(program)) {
    const to = target(file, specifier);
    const line = text.slice(0, at).split('\n').length;
    for (const rule of NEVER) {
      if (file.startsWith(rule.from) && rule.not(to)) problems.push(`src/${file}:${line}: must not import ${to}: ${rule.why}`);
    }
    if (specifier.endsWith('.node') && !LOADERS.test(file)) problems.push(`src/${file}:${line}: only src/native loads an addon`);
  }
}

for (const problem of problems) console.error(problem);
console.log(`import directions: ${files.length} files, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

/** Path below src of what a specifier names, or the specifier itself for a package. */
function target(file, specifier) {
  if (!specifier.startsWith('.')) return specifier;
  return relative(SRC, resolve(SRC, dirname(file), specifier)).replace(/\.js$/, '.ts');
}

/** Every module specifier in a syntax tree, however it is imported; and strings that name an addon. */
function* sources(node) {
  if (node === null || typeof node !== 'object') return;
  if (Array.isArray(node)) {
    for (const child of node) yield* sources(child);
    return;
  }
  const named = [
    'ImportDeclaration',
    'ExportNamedDeclaration',
    'ExportAllDeclaration',
    'ImportExpression',
    'TSImportType',
    'TSExternalModuleReference',
  ];
  const source = node.source ?? node.argument ?? node.expression;
  if (named.includes(node.type) && typeof (source?.value ?? source?.literal?.value) === 'string') {
    yield { specifier: source.value ?? source.literal.value, at: node.start };
  } else if (node.type === 'Literal' && typeof node.value === 'string' && node.value.endsWith('.node')) {
    yield { specifier: node.value, at: node.start };
  }
  for (const [key, child] of Object.entries(node)) if (key !== 'type') yield* sources(child);
}
