/** Listening sockets that the service manager has opened for this process (sd_listen_fds(3)), by their paths. */
import { readFileSync, readlinkSync } from 'node:fs';

const FIRST_DESCRIPTOR = 3;
/** __SO_ACCEPTCON, as /proc/net/unix shows it. */
const LISTENS = '00010000';

/** Path of each listening Unix socket of this name space, by its inode (proc(5), /proc/net/unix). */
function listeningPaths(): Map<string, string> {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n').slice(1);
  return new Map(
    lines.flatMap((line): [string, string][] => {
      const [, , , flags, , , inode, ...path] = line.trim().split(' ').filter(Boolean);
      return flags === LISTENS && path.length > 0 ? [[inode, path.join(' ')]] : [];
    }),
  );
}

function inodeOf(fd: number): string {
  return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? '';
}

function find(environment: NodeJS.ProcessEnv): Map<string, number> {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = environment;
  // They are for this process, and for none that it starts.
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  if (pid !== String(process.pid) || !/^[1-9]\d?$/.test(count ?? '')) return new Map();
  const paths = listeningPaths();
  const descriptors = Array.from({ length: Number(count) }, (_, index) => FIRST_DESCRIPTOR + index);
  return new Map(
    descriptors.flatMap((fd): [string, number][] => {
      const path = paths.get(inodeOf(fd));
      return path === undefined ? [] : [[path, fd]];
    }),
  );
}

let found: ReadonlyMap<string, number> | undefined;

/** The descriptor of the socket that listens at this absolute path already, if the service manager gave us one. */
export function activatedSocket(path: string): number | undefined {
  found ??= find(process.env);
  return found.get(path);
}
