/** From a source text to a parsed configuration: every problem of shape, and then every problem between the parts that are well-formed. */
import type * as z from 'zod';
import { knownKeys } from './json-schema.js';
import { nearest } from './nearest.js';
import { formatPath } from './problems.js';
import type { ConfigProblem, KeyPath } from './problems.js';
import { configSchema, deviceSchema, tenantSchema } from './schema.js';
import type { ParsedConfig, ParsedDevice, ParsedTenant } from './schema.js';
import type { Source } from './source.js';

/** A well-formed element of a list, with its place in the file. */
export interface Placed<T> {
  readonly path: KeyPath;
  readonly value: T;
}

/** What the cross checks work on: the well-formed elements, even when others are not. */
export interface WellFormed {
  readonly devices: readonly Placed<ParsedDevice>[];
  readonly tenants: readonly Placed<ParsedTenant>[];
  /** Names of devices that are not well-formed: a share may still name them. */
  readonly brokenDevices: ReadonlySet<string>;
}

const MOST_SHOWN = 60;
const SECRET_KEYS = new Set(['token', 'sha256']);

/** A value as a message shows it: short, and never one that may be a secret. */
export function shown(path: KeyPath, value: unknown): string {
  if (path.some((part) => typeof part === 'string' && SECRET_KEYS.has(part))) return 'the value (not shown: it may be a secret)';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)}...`;
}

function unknownKey(source: Source, path: KeyPath, key: string): ConfigProblem {
  const known = knownKeys(path);
  const guess = nearest(key, known);
  const place = path.length === 0 ? 'here' : `in ${formatPath(path)}`;
  const remedy = guess === undefined ? `the keys ${place} are ${known.join(', ')}` : `did you mean "${guess}"?`;
  return source.keyProblem([...path, key], 'there is no such key', remedy);
}

function problemsOf(source: Source, issue: z.core.$ZodIssue): ConfigProblem[] {
  const path = issue.path as (string | number)[];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(source, path, key));
  const value = source.at(path);
  if (value === undefined && path.length > 0) return [source.problem(path, 'this key is missing', issue.message)];
  return [source.problem(path, `${shown(path, value)} is not valid here`, issue.message)];
}

/** The schema's verdict on the whole file: the configuration, or everything that is wrong with its shape. */
export function parseShape(source: Source): { config?: ParsedConfig; problems: ConfigProblem[] } {
  const result = configSchema.safeParse(source.value);
  if (result.success) return { config: result.data, problems: [] };
  // One value can fail several rules that have the same remedy.
  const problems = new Map(result.error.issues.flatMap((issue) => problemsOf(source, issue)).map((problem) => [String(problem), problem]));
  return { problems: [...problems.values()] };
}

function placed<T>(raw: unknown, key: string, parse: (value: unknown) => { success: boolean; data?: T | undefined }): Placed<T>[] {
  if (!Array.isArray(raw)) return [];
  return raw.flatMap((element: unknown, index) => {
    const result = parse(element);
    return result.success && result.data !== undefined ? [{ path: [key, index], value: result.data }] : [];
  });
}

/** The devices and tenants that are well-formed in themselves. */
export function wellFormed(source: Source): WellFormed {
  const devices = placed<ParsedDevice>(source.at(['devices']), 'devices', (value) => deviceSchema.safeParse(value));
  const tenants = placed<ParsedTenant>(source.at(['tenants']), 'tenants', (value) => tenantSchema.safeParse(value));
  const raw = source.at(['devices']);
  const names = Array.isArray(raw) ? raw.map((_, index) => source.at(['devices', index, 'name'])) : [];
  const good = new Set(devices.map(({ value }) => value.name));
  return { devices, tenants, brokenDevices: new Set(names.filter((each): each is string => typeof each === 'string' && !good.has(each))) };
}
