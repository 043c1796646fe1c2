/**
 * Structured logs: one JSON object a line on standard error, or text for people.
 *
 * Nobody logs a token, an entry's data or a message's bytes; {@link Details} takes plain values only, so that no object slips in whole.
 */
import { pino } from 'pino';
import type { DestinationStream } from 'pino';
import { printable } from './text.js';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['json', 'pretty'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export type Details = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, details?: Details): void;
  info(message: string, details?: Details): void;
  warn(message: string, details?: Details): void;
  error(message: string, details?: Details): void;
  /** A log whose lines all carry `details`. */
  child(details: Details): Log;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Where lines go; standard error by default. Written at once, so that nothing is lost when the process ends. */
  readonly destination?: DestinationStream;
  /** Colours for `pretty`. */
  readonly colour?: boolean;
}

interface Sink {
  debug(details: Details, message: string): void;
  info(details: Details, message: string): void;
  warn(details: Details, message: string): void;
  error(details: Details, message: string): void;
  child(details: Details): Sink;
}

const NONE: Details = {};

function over(sink: Sink): Log {
  return {
    debug: (message, details = NONE) => sink.debug(details, message),
    info: (message, details = NONE) => sink.info(details, message),
    warn: (message, details = NONE) => sink.warn(details, message),
    error: (message, details = NONE) => sink.error(details, message),
    child: (details) => over(sink.child(details)),
  };
}

/** Lines on standard error. A reader that goes away (a closed pipe) must not end the server. */
function standardError(): DestinationStream {
  const stream = pino.destination({ dest: 2, sync: true });
  stream.on('error', () => undefined);
  return stream;
}

export function createLog(options: LogOptions): Log {
  const raw = options.destination ?? standardError();
  const stream = options.format === 'pretty' ? { write: (line: string) => raw.write(prettyLine(line, options.colour ?? false)) } : raw;
  const formatters = { level: (label: string) => ({ level: label }) };
  return over(pino({ level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'message', formatters }, stream));
}

/** Drops everything. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

const COLOURS: Readonly<Record<string, string>> = { debug: '\u001b[2m', info: '', warn: '\u001b[33m', error: '\u001b[31m' };

/** One JSON line as text: time, level, message, `key=value`. Exported for its test. */
export function prettyLine(line: string, colour: boolean): string {
  const { level, time, message, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const name = String(level);
  const details = Object.entries(rest).map(([key, value]) => ` ${key}=${printable(typeof value === 'string' ? value : JSON.stringify(value))}`);
  const text = `${String(time).slice(11, 23)} ${name.toUpperCase().padEnd(5)} ${printable(String(message))}${details.join('')}`;
  const paint = colour ? COLOURS[name] : undefined;
  return paint ? `${paint}${text}\u001b[0m\n` : `${text}\n`;
}
