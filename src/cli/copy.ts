/** `ringwarden copy`: a file into a share and back. */
import { Command, InvalidArgumentError } from 'commander';
import type { BlockDevice, Client } from '../client/index.js';
import { openSink, openSource } from './copy/files.js';
import { formatBytes } from './copy/format.js';
import { checkForms, parseBytes, type Plan, planOf, STANDARD } from './copy/location.js';
import { Progress } from './copy/progress.js';
import { checksum, readShare, type Transferred, type TransferOptions, writeShare } from './copy/transfer.js';
import { CliError, Exit, failureOf } from './failure.js';
import { type ConnectionOptions, outputOption, type OutputOptions, withClient, withConnection } from './options.js';
import { json } from './output.js';

interface CopyOptions extends ConnectionOptions, OutputOptions {
  readonly length?: number;
  readonly verify: boolean;
  readonly depth: number;
}

const MAX_DEPTH = 1_024;

const HELP = `
Copies FILE (or standard input, written as -) into a share of a tenant, or a part of a share into a file:
  ringwarden copy disk.img nvme0/data@1MiB --tenant alice
  ringwarden copy nvme0/data@1MiB - --length 64k --tenant alice | xxd

OFFSET counts in bytes from the start of the share, and is a multiple of its block size; it takes units, as lengths do: 4k, 1MiB, 1MB (a million).
Where the data end within a block, that block is read first, and the rest of it stays as it is.
The checksum is the SHA-256 of the bytes that were copied.
Exit status: 0 copied, 1 not (whole) copied or not equal, 2 wrong command line.`;

function bytesOption(text: string): number {
  const bytes = parseBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('Write bytes, or a unit behind the number: 4096, 64k, 1MiB.');
  return bytes;
}

function depthOption(text: string): number {
  const depth = Number(text);
  if (!Number.isInteger(depth) || depth < 1 || depth > MAX_DEPTH) throw new InvalidArgumentError(`Write a whole number from 1 to ${MAX_DEPTH}.`);
  return depth;
}

/** The command. Its action throws what `failureOf` explains. */
export function copyCommand(): Command {
  return withConnection(new Command('copy'))
    .description('copies a file into a share, or a part of a share into a file')
    .argument('<from>', 'file, - for standard input, or DEVICE/SHARE[@OFFSET]')
    .argument('<to>', 'DEVICE/SHARE[@OFFSET], file, or - for standard output')
    .option('--length <bytes>', 'copy no more than this (default: all of the file, or the rest of the share)', bytesOption)
    .option('--verify', 'read back what was written, and compare', false)
    .option('--depth <requests>', 'requests in flight', depthOption, 32)
    .addOption(outputOption())
    .addHelpText('after', HELP)
    .action(async (from: string, to: string, options: CopyOptions) => {
      checkForms(from, to);
      await withClient(options, (client) => interruptible((signal) => copy(client, from, to, options, signal)));
    });
}

/** Runs `work` with a signal that is aborted by SIGINT and SIGTERM; a second one ends the process as usual. */
async function interruptible<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
  const abort = new AbortController();
  const onSignal = (): void => {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    abort.abort(new CliError('interrupted', 'repeat the command'));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await work(abort.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

async function copy(client: Client, from: string, to: string, options: CopyOptions, signal: AbortSignal): Promise<void> {
  const plan = planOf(from, to, await client.listDevices({ signal }));
  const device = await client.openDevice(plan.place.device, { signal });
  const share = device.share(plan.place.share);
  checkOffset(share, plan.place.offset);
  if (options.verify && plan.direction === 'fromShare' && plan.file === STANDARD) {
    throw new CliError('what went to standard output cannot be read back', 'leave out --verify, or copy to a file', Exit.usage);
  }
  const started = performance.now();
  const moved = await (plan.direction === 'toShare' ? toShare(plan, share, options, signal) : fromShare(plan, share, options, signal));
  const seconds = (performance.now() - started) / 1_000;
  if (options.verify) await verify(plan, share, moved, options, signal);
  await device.close();
  report(from, to, moved, seconds, options, plan);
}

function checkOffset(share: BlockDevice, offset: number): void {
  if (offset % share.blockBytes !== 0) {
    throw new CliError(`${offset} is not a multiple of the block size of ${share.name}`, `round the offset to ${share.blockBytes} bytes`, Exit.usage);
  }
  if (offset > share.size) {
    throw new CliError(`${offset} lies behind the end of ${share.name}`, `stay below its ${share.size} bytes`, Exit.usage);
  }
}

/** Runs a transfer under a progress display; a failure says how far it got. */
async function shown(
  title: string,
  total: number | undefined,
  { depth }: CopyOptions,
  signal: AbortSignal,
  transfer: (options: TransferOptions) => Promise<Transferred>,
): Promise<Transferred> {
  const progress = new Progress(title, total);
  let done = 0;
  const onProgress = (bytes: number): void => {
    done = bytes;
    progress.update(bytes);
  };
  try {
    return await transfer({ depth, signal, onProgress });
  } catch (error) {
    const { what, remedy, exitCode } = failureOf(signal.aborted ? signal.reason : error);
    const all = total === undefined ? '' : ` of ${total}`;
    throw new CliError(`${what}; ${title} got as far as ${done}${all} bytes`, remedy, exitCode);
  } finally {
    progress.end();
  }
}

async function toShare({ file, place }: Plan, share: BlockDevice, options: CopyOptions, signal: AbortSignal): Promise<Transferred> {
  const source = await openSource(file, signal);
  try {
    const most = options.length ?? Number.MAX_SAFE_INTEGER;
    const total = source.size === undefined ? options.length : Math.min(source.size, most);
    const room = share.size - place.offset;
    if (source.size !== undefined && total !== undefined && total > room) {
      throw new CliError(`${file} has ${total} bytes to copy, and ${room} fit behind the offset`, 'copy less with --length, or to a larger share');
    }
    return await shown('writing', total, options, signal, (each) => writeShare(source, share, place.offset, most, each));
  } finally {
    await source.close();
  }
}

async function fromShare({ file, place }: Plan, share: BlockDevice, options: CopyOptions, signal: AbortSignal): Promise<Transferred> {
  const room = share.size - place.offset;
  const length = options.length ?? room;
  if (length > room) throw new CliError(`there are ${room} bytes behind the offset, not ${length}`, 'give a smaller --length', Exit.usage);
  const sink = await openSink(file);
  try {
    return await shown('reading', length, options, signal, (each) => readShare(share, place.offset, length, sink, each));
  } finally {
    await sink.close();
  }
}

/** Reads back what was written, and compares the checksums. */
async function verify(
  { direction, file, place }: Plan,
  share: BlockDevice,
  moved: Transferred,
  options: CopyOptions,
  signal: AbortSignal,
): Promise<void> {
  const again = await shown('verifying', moved.bytes, options, signal, async (each) => {
    if (direction === 'toShare') return readShare(share, place.offset, moved.bytes, undefined, each);
    const source = await openSource(file, signal);
    try {
      return await checksum(source, each);
    } finally {
      await source.close();
    }
  });
  if (again.bytes !== moved.bytes || again.sha256 !== moved.sha256) {
    throw new CliError(
      `what was read back is not what was written: SHA-256 ${again.sha256} instead of ${moved.sha256}`,
      'see whether somebody else writes there, then copy again',
    );
  }
}

function report(from: string, to: string, { bytes, sha256 }: Transferred, seconds: number, options: CopyOptions, plan: Plan): void {
  const bytesPerSecond = Math.round(bytes / Math.max(seconds, 1e-6));
  const verified = options.verify;
  const words = [
    `${bytes} bytes (${formatBytes(bytes)}) from ${from} to ${to} in ${seconds.toFixed(2)} s, ${formatBytes(bytesPerSecond)}/s`,
    `sha256 ${sha256}${verified ? ', read back and equal' : ''}`,
  ];
  const text = options.output === 'json' ? json({ from, to, bytes, seconds, bytesPerSecond, sha256, verified }) : words.join('\n');
  // Standard output may be where the data went.
  const stream = plan.direction === 'fromShare' && plan.file === STANDARD ? process.stderr : process.stdout;
  stream.write(`${text}\n`);
}
