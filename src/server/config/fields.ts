/**
 * Building blocks of the configuration schema. The `error` of each one is the remedy that a wrong value gets: what to write instead.
 */
import * as z from 'zod';
import { ADDRESS, parseAddress } from '../../hw/linux/address.js';
import { BLOCKS_PATTERN, DURATION_PATTERN, SIZE_PATTERN, parseDuration, parseExtent, parseSize } from './units.js';

// Compiling schemas with `new Function` is slower to start than it is worth for one file, and the server forbids it.
z.config({ jitless: true });

/** A whole number from `least` to `most`. */
export const whole = (least: number, most: number) => {
  const error = `write a whole number from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const quantity = (error: string, pattern: RegExp, parse: (value: number | string) => number, least: number, most: number) =>
  z
    .union([z.int({ error }).min(0, { error }), z.string({ error }).regex(pattern, { error })], { error })
    .refine((value) => parse(value) >= least && parse(value) <= most, { error })
    .transform(parse);

/** Bytes from `least` to `most`, as a number or as text with a unit; becomes a number. */
export const size = (least: number, most: number) =>
  quantity(`write bytes as a number or with a unit, such as "512 MiB", from ${least} to ${most} bytes`, SIZE_PATTERN, parseSize, least, most);

/** Milliseconds from `least` to `most`, as a number or as text with a unit; becomes a number. */
export const duration = (least: number, most: number) =>
  quantity(
    `write a time with a unit, such as "5 s" (ms, s, min, h), or milliseconds as a number, from ${least} to ${most} ms`,
    DURATION_PATTERN,
    parseDuration,
    least,
    most,
  );

const EXTENT_ERROR = 'write bytes as a number or with a unit ("512 MiB"), or blocks ("131072 blocks")';
const EXTENT_PATTERN = new RegExp(`${SIZE_PATTERN.source}|${BLOCKS_PATTERN.source}`);

/** A place or a length on a namespace, in bytes or blocks; becomes an `Extent`. */
export const extent = () =>
  z
    .union(
      [
        z.int({ error: EXTENT_ERROR }).min(0, { error: EXTENT_ERROR }),
        z.string({ error: EXTENT_ERROR }).regex(EXTENT_PATTERN, { error: EXTENT_ERROR }),
      ],
      {
        error: EXTENT_ERROR,
      },
    )
    .refine((value) => parseExtent(value) !== undefined, { error: EXTENT_ERROR })
    .transform((value) => parseExtent(value) ?? { bytes: 0 });

const NAME_ERROR = 'write 1 to 64 letters, digits, ".", "_" or "-", beginning with a letter or digit';
/** A name that is safe in paths, labels and commands. */
export const name = () => z.string({ error: NAME_ERROR }).regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, { error: NAME_ERROR });

const PATH_ERROR = 'write a path; a relative one begins at the folder of this file';
export const path = () => z.string({ error: PATH_ERROR }).min(1, { error: PATH_ERROR }).max(4096, { error: PATH_ERROR });

export const flag = () => z.boolean({ error: 'write true or false' });

export const text = (what: string, most: number) => {
  const error = `write ${what}: 1 to ${most} characters`;
  return z.string({ error }).min(1, { error }).max(most, { error });
};

const SERIAL_ERROR = 'write 1 to 20 printable ASCII characters';
/** A serial number as NVMe has it (Base Specification 1.4, figure 247). */
export const serial = () => z.string({ error: SERIAL_ERROR }).regex(/^[\x20-\x7e]{1,20}$/, { error: SERIAL_ERROR });

const ADDRESS_ERROR = 'write the address of a PCI function, such as "0000:01:00.0"; "ringwarden status --devices" lists them';
/** Where a PCI function is; becomes the address in full. */
export const pciAddress = () => z.string({ error: ADDRESS_ERROR }).regex(ADDRESS, { error: ADDRESS_ERROR }).transform(parseAddress);

/** One of the given words. */
export const word = <const Words extends readonly [string, ...string[]]>(...words: Words) =>
  z.enum(words, { error: `write ${words.map((each) => `"${each}"`).join(' or ')}` });

/** A list of different words out of the given ones, at least one. */
export const words = <const Words extends readonly [string, ...string[]]>(...choices: Words) => {
  const error = `write a list of one or more of ${choices.map((each) => `"${each}"`).join(', ')}, each once`;
  return z
    .array(z.enum(choices, { error }), { error })
    .min(1, { error })
    .refine((list) => new Set(list).size === list.length, { error });
};

/** An object with these keys and no others. */
export const record = <Shape extends z.core.$ZodLooseShape>(what: string, shape: Shape) =>
  z.strictObject(shape, { error: (issue) => (issue.code === 'invalid_type' ? `write ${what}: an object in braces` : undefined) });

export const list = <Item extends z.core.SomeType>(what: string, item: Item, most: number) => {
  const error = `write a list of ${what}, at most ${most}`;
  return z.array(item, { error }).max(most, { error });
};
