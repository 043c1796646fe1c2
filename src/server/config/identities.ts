/** Who is who: names, user ids and tokens, none of which may stand for two tenants. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { MAX_TEXT, OPERATIONS, Right } from '../../protocol/index.js';
import { systemCode } from '../text.js';
import type { Environment } from './environment.js';
import type { ConfigProblem, KeyPath } from './problems.js';
import type { ParsedTenant } from './schema.js';
import type { Source } from './source.js';
import type { Placed, WellFormed } from './validate.js';

/** Characters of a token that can hold 128 random bits. */
export const MIN_TOKEN_CHARACTERS = 22;

/** Calls `twice` for each item whose key was there before, with the earlier item. */
function findTwice<T>(items: readonly T[], key: (item: T) => string | number, twice: (item: T, earlier: T) => void): void {
  const seen = new Map<string | number, T>();
  for (const item of items) {
    const earlier = seen.get(key(item));
    if (earlier === undefined) seen.set(key(item), item);
    else twice(item, earlier);
  }
}

/** Names that are there twice. */
export function duplicateNames(source: Source, parts: WellFormed): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const check = (items: readonly { readonly path: KeyPath; readonly value: { readonly name: string } }[], what: string): void =>
    findTwice(
      items,
      ({ value }) => value.name,
      ({ path, value }, earlier) => {
        const line = source.line([...earlier.path, 'name']);
        problems.push(source.problem([...path, 'name'], `${what} "${value.name}" is there already, on line ${line}`, 'give it another name'));
      },
    );
  check(parts.devices, 'device');
  check(parts.tenants, 'tenant');
  for (const { path, value: tenant } of parts.tenants) {
    const devices = new Set(tenant.shares.map(({ device }) => device));
    for (const device of devices) {
      const shares = tenant.shares
        .map((value, index) => ({ path: [...path, 'shares', index], value }))
        .filter(({ value }) => value.device === device);
      check(shares, 'share');
    }
  }
  return problems;
}

/** The user ids of a tenant with their places in the file, `server` resolved. */
export function uidsOf(tenant: ParsedTenant, path: KeyPath, environment: Environment): { uid: number; path: KeyPath }[] {
  const resolveUid = (uid: number | 'server'): number => (uid === 'server' ? environment.uid : uid);
  const single = tenant.uid === undefined ? [] : [{ uid: resolveUid(tenant.uid), path: [...path, 'uid'] }];
  return [...single, ...(tenant.uids ?? []).map((uid, index) => ({ uid: resolveUid(uid), path: [...path, 'uids', index] }))];
}

/** User and group ids: each one of at most one tenant, unless isolation is given up; never an overflow id; no tenant without credentials. */
export function checkCredentials(source: Source, parts: WellFormed, environment: Environment): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const shareAllowed = source.at(['isolation']) === 'none';
  const uids = parts.tenants.flatMap(({ path, value }) => uidsOf(value, path, environment).map((each) => ({ ...each, tenant: value.name })));
  const overflow = (path: KeyPath, kind: string, id: number): ConfigProblem =>
    source.problem(path, `${kind} ${id} stands for anyone whom the kernel cannot name`, 'give the tenant an id of its own, or a token');
  for (const { uid, path } of uids) if (uid === environment.overflowUid) problems.push(overflow(path, 'user id', uid));
  if (!shareAllowed) {
    findTwice(
      uids,
      ({ uid }) => uid,
      ({ uid, path, tenant }, earlier) => {
        if (tenant === earlier.tenant) return;
        const what = `user id ${uid} is that of tenant "${earlier.tenant}" too (line ${source.line(earlier.path)})`;
        problems.push(source.problem(path, what, 'give each tenant a user id of its own, or say "isolation": "none" at the top'));
      },
    );
  }
  for (const { path, value: tenant } of parts.tenants) {
    if (tenant.gid === environment.overflowGid) problems.push(overflow([...path, 'gid'], 'group id', tenant.gid));
    if (tenant.uid !== undefined || tenant.uids !== undefined || tenant.gid !== undefined || tenant.token !== undefined) continue;
    problems.push(source.problem(path, `tenant "${tenant.name}" cannot be told from anybody else`, 'give it a uid, a gid or a token'));
  }
  return problems;
}

export type TokenResult = { readonly hash?: Uint8Array; readonly problem?: ConfigProblem };

/** The hash of a tenant's token, from the configuration or from the token file. */
export function readToken(source: Source, folder: string, { path, value: tenant }: Placed<ParsedTenant>): TokenResult {
  if (tenant.token === undefined) return {};
  if ('sha256' in tenant.token) return { hash: Buffer.from(tenant.token.sha256, 'hex') };
  const file = resolve(folder, tenant.token.file);
  const fail = (what: string, remedy: string): TokenResult => ({ problem: source.problem([...path, 'token', 'file'], what, remedy) });
  try {
    if ((statSync(file).mode & 0o077) !== 0) return fail(`${file} can be read by others`, `run "chmod 600 ${file}"`);
    const token = readFileSync(file, 'utf8').split('\n', 1)[0].trim();
    if (token.length < MIN_TOKEN_CHARACTERS || token.length > MAX_TEXT) {
      return fail(`${file} does not hold a token of ${MIN_TOKEN_CHARACTERS} to ${MAX_TEXT} characters`, 'make one with "ringwarden token"');
    }
    return { hash: createHash('sha256').update(token).digest() };
  } catch (error) {
    return fail(`${file} cannot be read (${systemCode(error)})`, 'make a token with "ringwarden token", and put it there');
  }
}

/** Tokens that two tenants have. */
export function duplicateTokens(source: Source, tokens: readonly { tenant: string; path: KeyPath; hash: Uint8Array }[]): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  findTwice(
    tokens,
    ({ hash }) => Buffer.from(hash).toString('hex'),
    ({ path }, earlier) => {
      const what = `the token is that of tenant "${earlier.tenant}" too (line ${source.line(earlier.path)})`;
      problems.push(source.problem([...path, 'token'], what, 'make another one with "ringwarden token"'));
    },
  );
  return problems;
}

/** Operations that are listed although the rights do not allow them. */
export function checkRights(source: Source, parts: WellFormed): ConfigProblem[] {
  return parts.tenants.flatMap(({ path, value: tenant }) =>
    tenant.shares.flatMap((share, index) =>
      (share.operations ?? []).flatMap((operation, place) => {
        const right = OPERATIONS.find(({ name }) => name === operation)?.right ?? Right.none;
        const missing = right === Right.write ? 'write' : 'read';
        if (right === Right.none || share.access.includes(missing)) return [];
        const what = `"${operation}" needs the right to ${missing}, which the share does not give`;
        return [source.problem([...path, 'shares', index, 'operations', place], what, `add "${missing}" to access, or leave "${operation}" out`)];
      }),
    ),
  );
}
