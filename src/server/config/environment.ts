/** What a configuration's meaning depends on beside its text: who runs the server, and the users and groups of the machine. */
import { readFileSync } from 'node:fs';
import { getgid, getuid } from 'node:process';

export interface Environment {
  readonly uid: number;
  readonly gid: number;
  /** Ids that the kernel shows for anyone whom it cannot name in this user namespace: they prove nothing. */
  readonly overflowUid: number;
  readonly overflowGid: number;
  /** The id of a group by its name; undefined if there is no such group. */
  groupId(name: string): number | undefined;
  /** Whether `uid` is a member of the group `gid`, by the local user and group files. */
  isMember(uid: number, gid: number): boolean;
}

const OVERFLOW_ID = 65_534;

function overflowId(file: string): number {
  try {
    const value = Number(readFileSync(file, 'utf8'));
    return Number.isSafeInteger(value) ? value : OVERFLOW_ID;
  } catch {
    return OVERFLOW_ID;
  }
}

/** Records of a file in the form of passwd(5) or group(5); empty when there is none. */
function records(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .filter((fields) => fields.length >= 4);
  } catch {
    return [];
  }
}

export const systemEnvironment = (): Environment => ({
  uid: getuid?.() ?? OVERFLOW_ID,
  gid: getgid?.() ?? OVERFLOW_ID,
  overflowUid: overflowId('/proc/sys/kernel/overflowuid'),
  overflowGid: overflowId('/proc/sys/kernel/overflowgid'),
  groupId(name) {
    const id = records('/etc/group').find(([group]) => group === name)?.[2];
    return id === undefined ? undefined : Number(id);
  },
  isMember(uid, gid) {
    const user = records('/etc/passwd').find((fields) => Number(fields[2]) === uid);
    if (user === undefined) return false;
    if (Number(user[3]) === gid) return true;
    return records('/etc/group').some((fields) => Number(fields[2]) === gid && fields[3].split(',').includes(user[0]));
  },
});
