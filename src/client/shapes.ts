/** Proves that a decoded value has the shape that the protocol gives it. Everything throws `malformed` otherwise. */
import { malformed } from './errors.js';

export type Fields = Readonly<Record<string, unknown>>;

/** A whole number from 0 to `most`. */
export function whole(fields: Fields, name: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw malformed(`${name} = ${String(value)} where a whole number from 0 to ${most} was due`);
}

export function positive(fields: Fields, name: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = whole(fields, name, most);
  if (value > 0) return value;
  throw malformed(`${name} = 0 where a positive number was due`);
}

export function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === 'string') return value;
  throw malformed(`${name} that is not a text`);
}

export function flag(fields: Fields, name: string): boolean {
  const value = fields[name];
  if (typeof value === 'boolean') return value;
  throw malformed(`${name} that is neither true nor false`);
}

export function bytes(fields: Fields, name: string): Uint8Array {
  const value = fields[name];
  if (value instanceof Uint8Array) return value;
  throw malformed(`${name} that is not binary`);
}

export function oneOf<const Choice extends string>(fields: Fields, name: string, choices: readonly Choice[]): Choice {
  const value = fields[name];
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  throw malformed(`${name} = ${String(value)} where one of ${choices.join(', ')} was due`);
}

export function map(fields: Fields, name: string): Fields {
  const value = fields[name];
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)) return value as Fields;
  throw malformed(`${name} that is not a map`);
}

/** A list, each element read by `read` as the field `name` of a map of its own. */
export function list<Element>(fields: Fields, name: string, read: (holder: Fields, name: string) => Element): Element[] {
  const value = fields[name];
  if (!Array.isArray(value)) throw malformed(`${name} that is not a list`);
  return value.map((element: unknown) => read({ [name]: element }, name));
}
