/** Configurations for tests, and where in them a problem is expected. */
import { ConfigError, parseConfiguration } from '../../../src/server/config/index.js';
import type { Configuration, ConfigProblem, Environment } from '../../../src/server/config/index.js';

export const SERVER_UID = 500;

export const environment: Environment = {
  uid: SERVER_UID,
  gid: 500,
  overflowUid: 65_534,
  overflowGid: 65_534,
  groupId: (name) => (name === 'operators' ? 42 : undefined),
  isMember: () => false,
};

interface Parts {
  top?: string;
  listen?: string;
  admin?: string;
  devices?: string;
  tenants?: string;
}

export const DEVICE = '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB" }] } }';
export const SHARE = '{ "name": "data", "device": "nvme0", "size": "64 KiB" }';
export const ALICE = `{ "name": "alice", "uid": 1000, "shares": [${SHARE}] }`;

/** A sound configuration, with parts replaced. */
export const text = (parts: Parts = {}): string => `{
  "state": "state",
  ${parts.top ?? ''}
  "listen": ${parts.listen ?? '{ "unix": { "path": "s.sock" } }'},
  "admin": ${parts.admin ?? '{ "path": "admin.sock" }'},
  "devices": [
    ${parts.devices ?? DEVICE}
  ],
  "tenants": [
    ${parts.tenants ?? ALICE}
  ],
}
`;

/** Stands in a text before the place where a problem is expected. */
const MARK = '§';

export const parse = (source: string, file = '/nowhere/conf.jsonc'): Configuration => parseConfiguration(file, source, environment);

/** The problems of a text, and the places of the marks in it. Marks are taken out first. */
export function problemsOf(marked: string, file = '/nowhere/conf.jsonc'): { problems: readonly ConfigProblem[]; places: string[]; marks: string[] } {
  const marks: string[] = [];
  let plain = '';
  for (const part of marked.split(MARK).entries()) {
    if (part[0] > 0) {
      const lines = plain.split('\n');
      marks.push(`${lines.length}:${(lines.at(-1) ?? '').length + 1}`);
    }
    plain += part[1];
  }
  try {
    parse(plain, file);
    return { problems: [], places: [], marks };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { problems: error.problems, places: error.problems.map(({ line, column }) => `${line}:${column}`), marks };
  }
}
