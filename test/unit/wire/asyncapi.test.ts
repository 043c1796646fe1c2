/** `docs/asyncapi.json` says what the guards accept, no more and no less. */
import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import type { RequestType } from '../../../src/protocol/index.js';
import { ID, REQUEST_FIELDS, type Rule, SUBMIT_FIELDS, decode, guardId, guardRequest, guardSubmit } from '../../../src/server/wire/index.js';
import { EXAMPLES, REQUEST_TYPES } from './examples.js';
import { type Schema, asyncApi, exampleOf, mismatch } from './schema.js';

const packr = new Packr({ useRecords: false });

/** The schema that a rule amounts to. */
function schemaOf(rule: Rule): Schema {
  switch (rule.kind) {
    case 'whole': {
      if (rule.powerOfTwo !== true) return { type: 'integer', minimum: rule.least, maximum: rule.most };
      const powers: number[] = [];
      for (let power = rule.least; power <= rule.most; power *= 2) powers.push(power);
      return { type: 'integer', enum: powers };
    }
    case 'text':
      return { type: 'string', minLength: 1, maxLength: rule.most };
    case 'oneOf':
      return { type: 'string', enum: rule.values };
    case 'flag':
      return { type: 'boolean' };
    case 'binary': {
      const bytes = { 'x-minBytes': rule.least, 'x-maxBytes': rule.most, 'x-unitBytes': rule.unit };
      return { type: 'string', contentEncoding: 'base64', contentMediaType: 'application/octet-stream', ...bytes } as Schema;
    }
  }
}

function payloadOf(type: string, rules: Readonly<Record<string, Rule>>, id: boolean): unknown {
  const fields: Record<string, Rule> = { ...(id && { id: ID }), ...rules };
  const properties = Object.fromEntries(Object.entries(fields).map(([name, rule]) => [name, schemaOf(rule)]));
  const required = ['type', ...Object.keys(fields).filter((name) => fields[name].optional !== true)];
  return { type: 'object', additionalProperties: false, required, properties: { type: { const: type }, ...properties } };
}

/** The same without its descriptions. */
const plain = (schema: unknown): unknown => JSON.parse(JSON.stringify(schema, (key, value: unknown) => (key === 'description' ? undefined : value)));

const { messages } = asyncApi.components;

describe.each(REQUEST_TYPES)('%s', (type) => {
  it('is documented as the guards have it', () => {
    expect(plain(messages[type].payload)).toEqual(payloadOf(type, REQUEST_FIELDS[type], true));
  });

  it('has an example that the guards accept', () => {
    const message = decode(packr.pack(exampleOf(type)));
    expect(guardId(message)).toBeGreaterThan(0);
    expect(guardRequest(type, message)).toMatchObject({ type });
    expect(mismatch(messages[type].payload, exampleOf(type))).toBeUndefined();
    expect(mismatch(messages[type].payload, { type, id: 1, ...EXAMPLES[type] })).toBeUndefined();
  });

  it('has an operation with its answer', () => {
    const refs = (names: string[]): unknown[] => names.map((name) => ({ $ref: `#/channels/session/messages/${name}` }));
    const { action, messages: asked, reply } = asyncApi.operations[type];
    expect([action, asked, reply?.messages]).toEqual(['receive', refs([type]), refs([`${type}Answer`, 'error'])]);
  });
});

it('submit is documented as the guards have it', () => {
  expect(plain(messages['submit'].payload)).toEqual(payloadOf('submit', SUBMIT_FIELDS, false));
  expect(guardSubmit(decode(packr.pack(exampleOf('submit')))).type).toBe('submit');
});

it('there are no messages but these', () => {
  const events = ['interrupt', 'namespaceChanged', 'reset', 'revoked', 'deviceLost', 'deviceRestored', 'holderGone', 'draining'];
  const all: string[] = [...REQUEST_TYPES, ...REQUEST_TYPES.map((type: RequestType) => `${type}Answer`), 'submit', 'completions', 'error'];
  const expected = [...all, ...events.map((event) => `${event}Event`)].toSorted();
  expect(Object.keys(messages).toSorted()).toEqual(expected);
  expect(Object.keys(asyncApi.channels.session.messages).toSorted()).toEqual(expected);
  for (const [name, { $ref }] of Object.entries(asyncApi.channels.session.messages)) expect($ref).toBe(`#/components/messages/${name}`);
  expect(Object.keys(asyncApi.operations).toSorted()).toEqual([...REQUEST_TYPES, 'submit', 'events'].toSorted());
});

it('every example fits its schema', () => {
  for (const name of Object.keys(messages)) expect([name, mismatch(messages[name].payload, exampleOf(name))]).toEqual([name, undefined]);
});

it('is of AsyncAPI 3', () => {
  expect(asyncApi.asyncapi).toBe('3.0.0');
  expect(asyncApi.channels.session.address).toBe('/');
  for (const message of Object.values(messages)) expect(message.contentType).toBe('application/msgpack');
});
