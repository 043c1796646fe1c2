/** Files and standard streams, as what `copy` reads from and writes to. */
import { type FileHandle, open } from 'node:fs/promises';
import { addAbortSignal, type Readable, type Writable } from 'node:stream';
import { systemCode } from '../../server/text.js';
import { CliError } from '../failure.js';
import { STANDARD } from './location.js';

export interface Source {
  /** Bytes, where that is known before. */
  readonly size: number | undefined;
  /** Fills `into`; fewer bytes only at the end. */
  read(into: Buffer): Promise<number>;
  close(): Promise<void>;
}

export interface Sink {
  /** Writes all of it; the memory may change afterwards. */
  write(bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'you may not open it',
  EISDIR: 'it is a folder',
  ENOSPC: 'its disk is full',
  EPIPE: 'the program that reads it ended',
};

function fileError(path: string, error: unknown): CliError {
  const code = systemCode(error);
  const what = path === STANDARD ? 'the standard stream' : path;
  return new CliError(
    `${what}: ${WORDS[code] ?? (error instanceof Error ? error.message : String(error))}`,
    'name a file that can be used, or - for a pipe',
  );
}

async function attempt<Value>(path: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw systemCode(error) === 'ABORT_ERR' ? error : fileError(path, error);
  }
}

/** Reads until `into` is full or the file ends. */
async function readFull(file: FileHandle, into: Buffer): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await file.read(into, filled, into.length - filled, null);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function fileSource(path: string): Promise<Source> {
  const file = await attempt(path, () => open(path, 'r'));
  const facts = await attempt(path, () => file.stat());
  if (facts.isDirectory()) {
    await file.close();
    throw new CliError(`${path}: ${WORDS['EISDIR']}`, 'name a file');
  }
  return {
    size: facts.isFile() ? facts.size : undefined,
    read: (into) => attempt(path, () => readFull(file, into)),
    close: () => file.close(),
  };
}

export function streamSource(stream: Readable, signal: AbortSignal): Source {
  const chunks = addAbortSignal(signal, stream)[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  let rest: Buffer = Buffer.alloc(0);
  const fill = async (into: Buffer): Promise<number> => {
    let filled = 0;
    while (filled < into.length) {
      if (rest.length === 0) {
        const { done, value } = await chunks.next();
        if (done === true) break;
        rest = value;
      }
      const taken = rest.copy(into, filled);
      rest = rest.subarray(taken);
      filled += taken;
    }
    return filled;
  };
  return {
    size: undefined,
    read: (into) => attempt(STANDARD, () => fill(into)),
    close: async () => {
      stream.destroy();
    },
  };
}

export const openSource = (path: string, signal: AbortSignal): Promise<Source> =>
  path === STANDARD ? Promise.resolve(streamSource(process.stdin, signal)) : fileSource(path);

async function fileSink(path: string): Promise<Sink> {
  const file = await attempt(path, () => open(path, 'w'));
  const write = async (bytes: Buffer): Promise<void> => {
    for (let written = 0; written < bytes.length;) {
      written += (await file.write(bytes, written, bytes.length - written, null)).bytesWritten;
    }
  };
  return { write: (bytes) => attempt(path, () => write(bytes)), close: () => attempt(path, () => file.close()) };
}

export function streamSink(stream: Writable): Sink {
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure = error;
  });
  const write = (bytes: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      if (failure !== undefined) reject(failure);
      else stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  return { write: (bytes) => attempt(STANDARD, () => write(bytes)), close: () => Promise.resolve() };
}

export const openSink = (path: string): Promise<Sink> => (path === STANDARD ? Promise.resolve(streamSink(process.stdout)) : fileSink(path));
