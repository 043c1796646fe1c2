/** The messages of `docs/asyncapi.json`, and the part of JSON Schema that they use. */
import { readFileSync } from 'node:fs';

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly contentEncoding?: 'base64';
  readonly 'x-minBytes'?: number;
  readonly 'x-maxBytes'?: number;
  readonly 'x-unitBytes'?: number;
  readonly $ref?: string;
  readonly description?: string;
}

interface DocumentedMessage {
  readonly name: string;
  readonly contentType: string;
  readonly payload: Schema;
  readonly examples: readonly { readonly payload: Readonly<Record<string, unknown>> }[];
}

export interface AsyncApi {
  readonly asyncapi: string;
  readonly channels: { readonly session: { readonly address: string; readonly messages: Readonly<Record<string, { readonly $ref: string }>> } };
  readonly operations: Readonly<
    Record<
      string,
      {
        readonly action: string;
        readonly messages: readonly { readonly $ref: string }[];
        readonly reply?: { readonly messages: readonly { readonly $ref: string }[] };
      }
    >
  >;
  readonly components: { readonly messages: Readonly<Record<string, DocumentedMessage>>; readonly schemas: Readonly<Record<string, Schema>> };
}

export const asyncApi = JSON.parse(readFileSync(new URL('../../../docs/asyncapi.json', import.meta.url), 'utf8')) as AsyncApi;

const SCHEMAS = '#/components/schemas/';

/** Why a value does not fit a schema; undefined when it does. Binary fields are Uint8Array in values. */
export function mismatch(schema: Schema, value: unknown, at = ''): string | undefined {
  if (schema.$ref !== undefined) {
    const found = asyncApi.components.schemas[schema.$ref.slice(SCHEMAS.length)];
    return found === undefined ? `${schema.$ref} is not there` : mismatch(found, value, at);
  }
  if ('const' in schema) return value === schema.const ? undefined : `${at} is ${String(value)}, not ${String(schema.const)}`;
  if (schema.enum !== undefined) return schema.enum.includes(value) ? undefined : `${at} is ${String(value)}`;
  switch (schema.type) {
    case 'boolean':
      return typeof value === 'boolean' ? undefined : `${at} is no boolean`;
    case 'integer': {
      const fits = typeof value === 'number' && Number.isSafeInteger(value) && value >= (schema.minimum ?? 0) && value <= (schema.maximum ?? 0);
      return fits ? undefined : `${at} is ${String(value)}`;
    }
    case 'string': {
      if (schema.contentEncoding !== undefined) {
        const fits =
          value instanceof Uint8Array &&
          value.length >= (schema['x-minBytes'] ?? 0) &&
          value.length <= (schema['x-maxBytes'] ?? 0) &&
          value.length % (schema['x-unitBytes'] ?? 1) === 0;
        return fits ? undefined : `${at} is not the binary that it should be`;
      }
      const fits = typeof value === 'string' && value.length >= (schema.minLength ?? 0) && value.length <= (schema.maxLength ?? Infinity);
      return fits ? undefined : `${at} is ${String(value)}`;
    }
    case 'array': {
      if (!Array.isArray(value) || schema.items === undefined) return `${at} is no array`;
      for (const [index, item] of value.entries()) {
        const wrong = mismatch(schema.items, item, `${at}[${index}]`);
        if (wrong !== undefined) return wrong;
      }
      return undefined;
    }
    case 'object': {
      if (typeof value !== 'object' || value === null) return `${at} is no object`;
      const { properties = {}, required = [] } = schema;
      const fields = value as Readonly<Record<string, unknown>>;
      for (const name of required) if (!Object.hasOwn(fields, name)) return `${at}.${name} is missing`;
      for (const [name, field] of Object.entries(fields)) {
        if (!Object.hasOwn(properties, name)) return `${at}.${name} is not documented`;
        const wrong = mismatch(properties[name], field, `${at}.${name}`);
        if (wrong !== undefined) return wrong;
      }
      return undefined;
    }
    default:
      return `${at} has a schema that says nothing`;
  }
}

/** An example with its binary fields as bytes. */
export function exampleOf(name: string): Record<string, unknown> {
  const { payload, examples } = asyncApi.components.messages[name];
  const fields = Object.entries(examples[0].payload).map(([field, value]) => {
    const isBinary = payload.properties?.[field]?.contentEncoding === 'base64';
    return [field, isBinary ? Uint8Array.from(Buffer.from(String(value), 'base64')) : value] as const;
  });
  return Object.fromEntries(fields);
}
