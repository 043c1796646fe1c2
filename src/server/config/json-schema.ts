/** The published JSON schema (draft 2020-12) of the configuration file, and what can be looked up in it. */
import * as z from 'zod';
import type { KeyPath } from './problems.js';
import { configSchema } from './schema.js';

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
}

/** `config/schema.json` is this, and a test compares them. */
export function configJsonSchema(): object {
  const { $schema, ...rest } = z.toJSONSchema(configSchema, { io: 'input' });
  return { $schema, title: 'Ringwarden configuration', description: 'JSON with comments and trailing commas.', ...rest };
}

const alternatives = (node: SchemaNode): readonly SchemaNode[] => [node, ...[...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap(alternatives)];

/** The keys that an object at `path` may have; where a choice is not made yet, those of all choices. */
export function knownKeys(path: KeyPath): string[] {
  let nodes = alternatives(configJsonSchema());
  for (const part of path) {
    nodes = nodes
      .map((node) => (typeof part === 'number' ? node.items : node.properties?.[part]))
      .filter((node) => node !== undefined)
      .flatMap(alternatives);
  }
  return [...new Set(nodes.flatMap((node) => Object.keys(node.properties ?? {})))];
}
