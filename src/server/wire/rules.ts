/** What a field of a control message may be. Each rule is data, so that the protocol's documents are tested against what the server accepts. */
import { Refusal } from '../engine/api.js';

interface Optional {
  readonly optional?: true;
}
export type Rule =
  /** A whole number, `least` to `most`. Any msgpack integer or float that is exactly that number. */
  | ({ readonly kind: 'whole'; readonly least: number; readonly most: number; readonly powerOfTwo?: true } & Optional)
  /** Text of 1 to `most` UTF-16 units without control characters. A secret is never repeated in a refusal. */
  | ({ readonly kind: 'text'; readonly most: number; readonly secret?: true } & Optional)
  | ({ readonly kind: 'oneOf'; readonly values: readonly string[] } & Optional)
  | ({ readonly kind: 'flag' } & Optional)
  /** Binary of `least` to `most` bytes, a multiple of `unit`. */
  | ({ readonly kind: 'binary'; readonly least: number; readonly most: number; readonly unit: number } & Optional);

/** Whether a value is a whole number in [least, most]. Minus zero, NaN and everything above 2^53 - 1 are not. */
export const isWhole = (value: unknown, least: number, most: number): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most && !Object.is(value, -0);

/** Throws the refusal of `value` at `field` unless it satisfies the rule. */
export function check(rule: Rule, field: string, value: unknown): void {
  switch (rule.kind) {
    case 'whole':
      if (typeof value !== 'number') throw wrongType(field, value);
      if (!isWhole(value, rule.least, rule.most)) throw new Refusal('outOfRange', field, showNumber(value));
      if (rule.powerOfTwo === true && !Number.isInteger(Math.log2(value))) throw new Refusal('outOfRange', field, value);
      return;
    case 'text':
      if (typeof value !== 'string') throw rule.secret === true ? new Refusal('wrongType', field) : wrongType(field, value);
      if (value.length >= 1 && value.length <= rule.most && !hasControl(value)) return;
      throw new Refusal('outOfRange', field, rule.secret === true ? '' : show(value));
    case 'oneOf':
      if (typeof value !== 'string') throw wrongType(field, value);
      if (!rule.values.includes(value)) throw new Refusal('outOfRange', field, show(value));
      return;
    case 'flag':
      if (typeof value !== 'boolean') throw wrongType(field, value);
      return;
    case 'binary':
      if (!(value instanceof Uint8Array)) throw wrongType(field, value);
      if (value.length >= rule.least && value.length <= rule.most && value.length % rule.unit === 0) return;
      throw new Refusal('outOfRange', field, `${value.length} bytes`);
  }
}

const wrongType = (field: string, value: unknown): Refusal => new Refusal('wrongType', field, show(value));

function hasControl(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x20 || (unit >= 0x7f && unit <= 0x9f)) return true;
  }
  return false;
}

const showNumber = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

/** A short text for any decoded value: what a refusal shows of it. Never more than 80 characters. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return showNumber(value);
    case 'string':
      return JSON.stringify(value.length <= 32 ? value : `${value.slice(0, 31)}…`).slice(0, 80);
    case 'boolean':
      return String(value);
    default:
      if (value === null) return 'nil';
      if (value instanceof Uint8Array) return `binary of ${value.length} bytes`;
      return Array.isArray(value) ? `array of ${value.length}` : 'map';
  }
}
