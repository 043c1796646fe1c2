/** Checks of a register access (R16). On the hot path: no allocation unless they fail. */

/** @throws RangeError unless [offset, offset + width) lies inside `bytes`, aligned to the width. */
export function checkAccess(bytes: number, offset: number, width: number): void {
  const allowed = Number.isSafeInteger(offset) && offset >= 0 && offset % width === 0 && width <= bytes && offset <= bytes - width;
  if (!allowed) throw new RangeError(`an access of ${width} bytes at ${offset} does not lie inside ${bytes} bytes, aligned`);
}

/** @throws RangeError unless the value is an unsigned number of this width. */
export function checkValue(value: number, width: 1 | 2 | 4): void {
  const allowed = width === 4 ? value >>> 0 === value : width === 2 ? (value & 0xffff) === value : (value & 0xff) === value;
  if (!allowed) throw new RangeError(`${value} is not an unsigned value of ${width} bytes`);
}
