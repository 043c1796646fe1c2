/** Register accesses of every width, made of the 32-bit accesses that the model has. */
import type { NvmeFunction } from './model/function.js';

const ONES = 0xffff_ffff;

/** A posted write. Narrower ones change their bytes of the word; 64 bits are two writes, low half first (Base Specification 1.4, 3.1). */
export function writeRegister(target: NvmeFunction, bar: number, offset: number, width: number, low: number, high: number): void {
  if (width >= 4) {
    target.writeBar(bar, offset, low);
    if (width === 8) target.writeBar(bar, offset + 4, high);
    return;
  }
  const shift = 8 * (offset & 3);
  const mask = ((ONES >>> (32 - 8 * width)) << shift) | 0;
  const word = offset & ~3;
  target.writeBar(bar, word, (target.readBar(bar, word) & ~mask) | ((low << shift) & mask));
}
