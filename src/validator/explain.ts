/** What a completion tells about a refusal beside its code: the field that offended, and the value that it had. */
import { CODES, Code, EntryWord, Field } from '../protocol/index.js';
import { RANGE_WORDS, RangeWord } from './ranges.js';
import type { Attachment } from './types.js';

const NUMBER_OF: Readonly<Record<string, number | undefined>> = Field;

/** Field numbers by code, for the codes below 100, which are the validator's. */
const FIELD_OF = new Uint8Array(100);
// Codes of 100 and above fall outside the array, which takes no notice of them.
for (const { code, field } of Object.values(CODES)) FIELD_OF[code] = NUMBER_OF[field] ?? Field.none;

/** The number of the field (one of `Field`) that a code of {@link admit} is about; `Field.none` for every other number. */
export const refusedField = (code: number): number => FIELD_OF[code] ?? Field.none;

/** Words of the attachment that the client sent: what lies behind them in the engine's memory is somebody else's. */
const fetchedWords = (attachment: Attachment): number => Math.min(attachment.bytes >>> 2, attachment.words.length);

/** Word index of the first range whose word `which` is zero (`zero`) or is not; the first range when there is none. */
function firstRange(attachment: Attachment, which: number, zero: boolean): number {
  const end = fetchedWords(attachment);
  for (let at = 0; at < end; at += RANGE_WORDS) {
    if ((attachment.words[at + which] === 0) === zero) return at;
  }
  return 0;
}

/** Word index of the range that reaches furthest. It lies outside the share whenever any range does, so the share need not be known. */
function furthestRange(attachment: Attachment): number {
  const words = attachment.words;
  const end = fetchedWords(attachment);
  let furthest = 0;
  let reach = 0;
  for (let at = 0; at < end; at += RANGE_WORDS) {
    // Rounds above 2^53, where every range is outside; rounding keeps the order.
    const last = words[at + RangeWord.lbaHigh] * 0x1_0000_0000 + words[at + RangeWord.lbaLow] + words[at + RangeWord.blocks];
    if (last > reach) {
      reach = last;
      furthest = at;
    }
  }
  return furthest;
}

/** The first reserved field of the entry that is not zero. */
function reservedValue(entry: Uint32Array): number {
  const beside = entry[EntryWord.queue] >>> 16;
  return beside || entry[EntryWord.reserved] || entry[EntryWord.reserved + 1] || entry[EntryWord.reserved + 2];
}

/** For a range: its reserved word where that offends, else its lba, which tells it from the others. For a missing attachment: bytes fetched. */
function attachmentValue(code: number, attachment: Attachment, out: Uint32Array): void {
  const { words, bytes } = attachment;
  if (code === Code.attachmentMissing) {
    out[0] = bytes;
  } else if (code === Code.rangeReserved) {
    out[0] = words[firstRange(attachment, RangeWord.reserved, false) + RangeWord.reserved];
  } else {
    const at = code === Code.rangeEmpty ? firstRange(attachment, RangeWord.blocks, true) : furthestRange(attachment);
    out[0] = words[at + RangeWord.lbaLow];
    out[1] = words[at + RangeWord.lbaHigh];
  }
}

/**
 * Writes the value that a refusal by {@link admit} is about into `out`: its low and its high word, zeros where no field is named. `entry` and
 * `attachment` are those that were judged. Total and allocation-free.
 */
export function refusedValue(code: number, entry: Uint32Array, attachment: Attachment, out: Uint32Array): void {
  out[0] = 0;
  out[1] = 0;
  switch (refusedField(code)) {
    case Field.operation:
      out[0] = entry[EntryWord.head] & 0xff;
      break;
    case Field.flags:
      out[0] = (entry[EntryWord.head] >>> 8) & 0xff;
      break;
    case Field.share:
      out[0] = entry[EntryWord.head] >>> 16;
      break;
    case Field.generation:
      out[0] = entry[EntryWord.generation];
      break;
    case Field.tag:
      out[0] = entry[EntryWord.tagLow];
      out[1] = entry[EntryWord.tagHigh];
      break;
    case Field.lba:
      out[0] = entry[EntryWord.lbaLow];
      out[1] = entry[EntryWord.lbaHigh];
      break;
    case Field.blocks:
      out[0] = entry[EntryWord.blocks];
      break;
    case Field.region:
      out[0] = entry[EntryWord.region];
      break;
    case Field.offset:
      out[0] = entry[EntryWord.offsetLow];
      out[1] = entry[EntryWord.offsetHigh];
      break;
    case Field.length:
      out[0] = entry[EntryWord.length];
      break;
    case Field.lease:
      out[0] = entry[EntryWord.lease];
      break;
    case Field.queue:
      out[0] = entry[EntryWord.queue] & 0xffff;
      break;
    case Field.reserved:
      out[0] = reservedValue(entry);
      break;
    case Field.attachment:
      attachmentValue(code, attachment, out);
      break;
  }
}
