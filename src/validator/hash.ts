/**
 * A multiplicative hash of a 64-bit tag, given as two words, to 32 bits; the upper bits are the good ones. The multipliers are secret and
 * odd: a client that knows neither cannot choose tags that collide. The folds carry upper bits down, which a product alone never does.
 */
export function hashTag(low: number, high: number, first: number, second: number): number {
  const one = Math.imul(low, first);
  const two = Math.imul(one ^ (one >>> 16) ^ high, second);
  return Math.imul(two ^ (two >>> 16), first) >>> 0;
}

/** An odd multiplier for {@link hashTag} from a 32-bit seed. Seeds next to each other give unlike multipliers, and 0 is a seed like others. */
export function multiplier(seed: number): number {
  const spread = Math.imul((seed ^ (seed >>> 16)) + 0x9e37_79b9, 0x85eb_ca77);
  return (Math.imul(spread ^ (spread >>> 15), 0xc2b2_ae3d) | 1) >>> 0;
}
