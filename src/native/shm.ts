/**
 * The `shm` addon: memory, descriptors and waiting, for server and client. This file is its only loader; it is loaded on first use, so
 * that what needs none of it stays pure JavaScript.
 *
 * Every function checks its arguments and throws (TypeError, RangeError, or an Error with `code` such as 'EACCES' and `syscall`); none aborts.
 */
import { createRequire } from 'node:module';

export interface Shm {
  /** Creates an anonymous memory file of `bytes` (close-on-exec, sealing allowed). */
  memfdCreate(name: string, bytes: number): number;
  /** Likewise, of huge pages (2 MiB), as many as hold `bytes`. ENOSPC or ENOMEM: so many are not free. Its mappings may be shorter than the file. */
  hugeCreate(name: string, bytes: number): number;
  /** Adds seals (bits of {@link Seal}); fails with EPERM once sealed against sealing. */
  addSeals(fd: number, seals: number): void;
  getSeals(fd: number): number;
  /**
   * Maps `bytes` at `offset` (multiple of 4096) of the file, shared. Both lie inside the file, and a buffer has 4 GiB at most. The memory stays
   * mapped until `unmap`, until the buffer is collected, or until the thread ends: a buffer stays with its thread.
   */
  map(fd: number, offset: number, bytes: number, writable: boolean): ArrayBuffer;
  /** Detaches the buffer (every view has length 0 from then on), then unmaps. Throws on a buffer that `map` did not make, or twice. */
  unmap(buffer: ArrayBuffer): void;
  /**
   * For a mapping of a file that somebody else may truncate: what is past the end of the file then reads as zeroes, where the process would die of
   * SIGBUS otherwise. Holds until the mapping ends.
   */
  guard(buffer: ArrayBuffer): void;
  /** Closes a descriptor. */
  close(fd: number): void;
  /** Duplicates a descriptor, close-on-exec. */
  duplicate(fd: number): number;
  /** Opens the file of a descriptor once more, for reading only. Unlike `fs.openSync` it gives the descriptor to the process: it outlives the thread. */
  openReadOnly(fd: number): number;

  /** New non-blocking eventfd with count 0. */
  eventfd(): number;
  /** Adds 1; false if that would block. Only ever used on descriptors that no client holds. */
  eventfdSignal(fd: number): boolean;
  /** Takes the count (0 if none), without blocking. */
  eventfdTake(fd: number): number;

  epollCreate(): number;
  /** `events` is a mask of {@link Epoll}; `data` (0 to 2^31-1) comes back from `epollWait`. `operation` is 'add', 'modify' or 'delete'. */
  epollControl(epoll: number, operation: 'add' | 'modify' | 'delete', fd: number, events: number, data: number): void;
  /**
   * Waits up to `microseconds` (-1: for ever; 0: not at all). Writes pairs (data, events) into `out` and returns how many pairs.
   * Returns 0 on EINTR. Allocates nothing.
   */
  epollWait(epoll: number, out: Int32Array, microseconds: number): number;

  /** Connected stream sockets, non-blocking, close-on-exec. */
  socketpair(): [number, number];
  /** A stream socket connected to the Unix socket at `path` (at most 107 bytes), non-blocking, close-on-exec. Does not wait: EAGAIN when its queue is full. */
  connect(path: string): number;
  /**
   * Non-blocking receive into `into[at, at+length)`: bytes read, 0 at the end of the stream, -1 when nothing is there yet. Descriptors that come along are closed
   * elsewhere; a plain read(2) would close them on this thread.
   */
  receive(fd: number, into: Uint8Array, at: number, length: number): number;
  /** As `receive`, but the bytes stay where they are: the next `receive` or `peek` gets them again. */
  peek(fd: number, into: Uint8Array, at: number, length: number): number;
  /** Non-blocking send (no SIGPIPE): bytes taken, -1 when the socket is full. Throws EPIPE when the peer is gone. */
  send(fd: number, from: Uint8Array, at: number, length: number): number;
  /** Sends all bytes together with descriptors (SCM_RIGHTS, 1 to 16). Returns bytes taken or -1. */
  sendDescriptors(fd: number, from: Uint8Array, descriptors: readonly number[]): number;
  /** Receives bytes and descriptors (close-on-exec; more than `most` are closed elsewhere and reported by `truncated`). */
  receiveDescriptors(fd: number, into: Uint8Array, most: number): { bytes: number; descriptors: number[]; truncated: boolean };
  /**
   * From now on no descriptors can be sent to this Unix socket, nor to those that it accepts: the sender gets EPERM (SO_PASSRIGHTS). False where the kernel cannot
   * do that (Linux before 6.16).
   */
  refuseDescriptors(fd: number): boolean;
  /** SO_PEERCRED of a connected Unix socket. */
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };

  /** Exclusive flock without waiting: false if somebody else holds it. */
  lock(fd: number): boolean;
  /** prctl(PR_SET_DUMPABLE, 0): no core dump, no ptrace by the same user. */
  forbidDump(): void;
  /**
   * Gives up, on all threads and for good, every capability but `capabilities` (bits by their numbers, capabilities(7)), the bounding and ambient sets, and
   * with them the right to gain any (no-new-privileges). Then forbids system calls that a running server never makes: other processes' memory, mounts, modules,
   * new programs and processes (unless it goes on starting `programs`), io_uring and sockets but Unix ones (unless it drives `functions` of the machine). `unreached` threads block every signal, and keep their capabilities,
   * without a way to gain more. `filter`: whether the kernel has taken the filter of system calls. Throws EPERM when a thread could not give up its own.
   */
  confine(capabilities: number, programs: boolean, functions: boolean): { readonly unreached: number; readonly filter: boolean };
  /**
   * Replaces this process by a program (execvpe(3): `file` is looked for in $PATH unless it has a slash), under the same process id. Descriptor `fd` becomes
   * its descriptor 3, the standard ones stay, all others are closed; what Node ignores or blocks of signals is as usual again. Returns only by throwing:
   * ENOENT or EACCES when there is no such program; this process then goes on. `args` begins with the name of the program.
   */
  execute(file: string, args: readonly string[], environment: readonly string[], fd: number): never;
  /** Sends a datagram (at most 4096 bytes) to the Unix socket at `path`; `@` stands for an abstract one. Does not wait: EAGAIN when its queue is full. */
  notify(path: string, text: string): void;
  /** One `getppid` system call, past any cache; the yardstick of the benchmarks. Repeats it `times` times. */
  getppid(times: number): number;
  /** sched_yield(2): lets another thread have this processor, if one is waiting for it. For whoever polls. */
  yieldProcessor(): void;

  /**
   * A way for a thread that never runs its event loop to wake one that does. `createWaker` runs on the loop's thread: `onWake` is called there
   * some time after one or more `wake(id)` from any thread (wakes before it runs are merged). It keeps the loop alive until `closeWaker`,
   * which only its own thread may call; the end of that thread closes it too.
   */
  createWaker(onWake: () => void): number;
  /** False if there is no such waker (any more). Never blocks, allocates nothing in JavaScript. */
  wake(id: number): boolean;
  closeWaker(id: number): void;

  /**
   * Takes over an eventfd that a client holds as well, and returns the id by which any thread can raise it. The kernel signals it for a thread of the addon's
   * own: nothing that the client does to it (a full counter, O_NONBLOCK cleared) makes anybody here wait. At most one signal in `microseconds` (0: no limit),
   * or sooner when `events` (0: no such number) have been raised since the last. Throws EINVAL for a descriptor that is no eventfd, ENOSPC when 4096 are
   * bound, and what io_setup(2) fails with; the descriptor then stays the caller's.
   */
  signalBind(fd: number, microseconds: number, events: number): number;
  /** Adds `count` events (1 to 2^32-1); the eventfd's counter counts signals, not events. Never blocks. False when the id was ended. */
  signalRaise(id: number, count: number): boolean;
  /** Gives up what waits, and closes the descriptor soon. False when that was done before: an id never comes to stand for another eventfd soon. */
  signalEnd(id: number): boolean;
  /** Events raised and signals made since it was bound; undefined when the id was ended. */
  signalCounters(id: number): { readonly events: number; readonly signals: number } | undefined;
  /**
   * Takes over a descriptor of unknown kind, of user `owner`, and closes it on a thread that may be lost: closing can take for ever (a TCP socket that lingers, a
   * file of a hostile file system), and closing a Unix socket also closes what was sent to it and not received. False when it has to wait, still open: 16 threads
   * of that owner, or 256 in all, hang; what waits is closed when one of that owner's is back.
   */
  closeElsewhere(fd: number, owner: number): boolean;
  /**
   * Closes a connected Unix socket, elsewhere if something was sent to it that nobody received: descriptors may be with it. `shared`: the caller knows that another
   * descriptor of the same connection is in use, which goes on.
   */
  closeConnection(fd: number, shared: boolean): void;
  /** Whether closeElsewhere would begin at once for this owner. Where not, nothing more should be received of it. */
  canCloseElsewhere(owner: number): boolean;
}

/** Seals of memory files (fcntl(2), F_ADD_SEALS). */
export const Seal = { seal: 0x01, shrink: 0x02, grow: 0x04, write: 0x08, futureWrite: 0x10 } as const;

/** Events of epoll(7). */
export const Epoll = { in: 0x001, out: 0x004, error: 0x008, hangUp: 0x010, edge: 0x8000_0000 | 0 } as const;

let loaded: Shm | undefined;

/** The addon, loaded on the first call. Throws an Error that says how to build it when it is not there. */
export function shm(): Shm {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)('../../build/shm.node') as Shm;
    } catch (cause) {
      throw new Error('the native addon is not built for this machine: run "npm run build" (needs g++)', { cause });
    }
  }
  return loaded;
}
