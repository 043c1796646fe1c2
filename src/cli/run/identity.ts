/**
 * Who the program is. The server knows a client by the user and group of the process that connects, so the launcher becomes the program's user for good before
 * it connects: no session is ever made with more rights than the program has.
 */
import { userInfo } from 'node:os';
import { CliError } from '../failure.js';

export interface IdentityOptions {
  /** Name or number. Root only, unless it is who runs this. */
  readonly user?: string;
  readonly group?: string;
}

/** How the configuration knows the tenant, as the admin socket tells it. */
export interface TenantCredentials {
  readonly uids: readonly number[];
  readonly gid: number | null;
}

/** A user, and what the user database says of it; nothing where it has no entry. */
interface Account {
  readonly uid: number;
  readonly entry: { readonly username: string; readonly gid: number; readonly homedir: string; readonly shell: string | null } | undefined;
}

type Calls = 'getuid' | 'geteuid' | 'getgid' | 'getegid' | 'seteuid' | 'setegid' | 'setuid' | 'setgid' | 'setgroups';
/** Calls that Node has on Linux, one of which its types forget. */
const own = process as unknown as Required<Pick<NodeJS.Process, Calls>> & { initgroups(user: string, extraGroup: number): void };

const isNumber = (text: string): boolean => /^\d{1,10}$/.test(text);

/**
 * Becomes the user that the program is to run as, for good, and returns what of the environment names another one then. `tenantOf` asks the server how it knows
 * the tenant; only root needs that. Throws a CliError when this may not, or cannot, be done.
 */
export async function becomeUser(options: IdentityOptions, tenantOf: () => Promise<TenantCredentials>): Promise<NodeJS.ProcessEnv> {
  if (own.geteuid() !== 0) {
    checkOwn(options);
    return {};
  }
  const tenant = options.user === undefined || options.group === undefined ? await credentials(options, tenantOf) : undefined;
  const account = accountOf(options.user ?? String(userOf(tenant)));
  if (account.uid === 0 && options.group === undefined) return {};
  const gid = options.group === undefined ? (tenant?.gid ?? account.entry?.gid) : groupOf(options.group);
  if (gid === undefined) throw new CliError(`user ${account.uid} has no entry in the user database`, 'name its group with --group');
  become(account, gid);
  return environmentOf(account);
}

/** With a user that is named the tenant is only asked for its group: if the server does not say, that of the user is right. */
async function credentials({ user }: IdentityOptions, tenantOf: () => Promise<TenantCredentials>): Promise<TenantCredentials | undefined> {
  if (user === undefined) return tenantOf();
  try {
    return await tenantOf();
  } catch {
    return undefined;
  }
}

/** An ordinary user starts programs for nobody else. */
function checkOwn({ user, group }: IdentityOptions): void {
  const isOwn =
    (user === undefined || user === String(own.getuid()) || user === nameOfUser()) && (group === undefined || group === String(own.getgid()));
  if (!isOwn) throw new CliError('only root starts programs as another user or group', 'leave out --user and --group, or run this as root');
}

function nameOfUser(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined;
  }
}

/** The one user that the configuration names. Never root: whoever answers on the admin socket does not decide that a program runs as root. */
function userOf(tenant: TenantCredentials | undefined): number {
  const [uid, ...others] = tenant?.uids ?? [];
  if (uid === undefined) throw new CliError('the configuration names no user for the tenant', 'name the user of the program with --user');
  if (others.length > 0) throw new CliError(`the tenant has several users (${[uid, ...others].join(', ')})`, 'choose one with --user');
  if (uid === 0)
    throw new CliError('the user of the tenant is root', 'say --user root if the program is to run as root, which isolates it from nobody');
  return uid;
}

/** What the user database says. The question can only be asked about the effective user of the process. */
function accountOf(user: string): Account {
  try {
    own.seteuid(isNumber(user) ? Number(user) : user);
  } catch {
    throw new CliError(`there is no user "${user}"`, 'name a user of this machine, or a number');
  }
  try {
    const uid = own.geteuid();
    try {
      const { username, gid, homedir, shell } = userInfo();
      return { uid, entry: { username, gid, homedir, shell } };
    } catch {
      return { uid, entry: undefined };
    }
  } finally {
    own.seteuid(0);
  }
}

function groupOf(group: string): number {
  const before = own.getegid();
  try {
    own.setegid(isNumber(group) ? Number(group) : group);
    return own.getegid();
  } catch {
    throw new CliError(`there is no group "${group}"`, 'name a group of this machine, or a number');
  } finally {
    own.setegid(before);
  }
}

/** Real, effective and saved ids: there is no way back, and that is tried. */
function become({ uid, entry }: Account, gid: number): void {
  if (entry === undefined) own.setgroups([]);
  else own.initgroups(entry.username, gid);
  own.setgid(gid);
  own.setuid(uid);
  const is = [own.getuid(), own.geteuid(), own.getgid(), own.getegid()];
  if (is.some((id, index) => id !== (index < 2 ? uid : gid)) || (uid !== 0 && canBeRoot())) {
    throw new CliError(`cannot become user ${uid} and group ${gid}`, 'see whether the security policy of this machine forbids it');
  }
}

function canBeRoot(): boolean {
  try {
    own.seteuid(0);
    return true;
  } catch {
    return false;
  }
}

/** As login(1) sets it. The runtime folder is that of whoever runs this. */
function environmentOf({ uid, entry }: Account): NodeJS.ProcessEnv {
  const { homedir, username, shell } = entry ?? { homedir: '/', username: String(uid), shell: null };
  return { HOME: homedir, USER: username, LOGNAME: username, SHELL: shell ?? '/bin/sh', XDG_RUNTIME_DIR: undefined };
}
