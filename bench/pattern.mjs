/** Blocks whose bytes tell where they belong, and the check that a read brought the right ones. */
export const BLOCK_BYTES = 4096;

const BLOCK_WORDS = BLOCK_BYTES / 4;
const wordAt = (index) => Math.imul(index + 1, 0x9e37_79b1) >>> 0;

/** `blocks` blocks: every 32-bit word is different from the same word of any other block, and from its neighbours. */
export function patterned(blocks) {
  return Buffer.from(Uint32Array.from({ length: blocks * BLOCK_WORDS }, (_, index) => wordAt(index)).buffer);
}

/** Throws unless the block at `at` of `memory` is block `block` of `expected`, every byte of it. Both are Buffers. */
export function checkBlock(memory, at, expected, block) {
  const from = block * BLOCK_BYTES;
  if (memory.compare(expected, from, from + BLOCK_BYTES, at, at + BLOCK_BYTES) !== 0) throw wrong(block);
}

/** The same for its first and its last word; `memory` is a Uint32Array. */
export function checkEnds(memory, at, block) {
  const [first, last] = [at / 4, at / 4 + BLOCK_WORDS - 1];
  if (memory[first] !== wordAt(block * BLOCK_WORDS) || memory[last] !== wordAt(block * BLOCK_WORDS + BLOCK_WORDS - 1)) throw wrong(block);
}

const wrong = (block) => new Error(`a read of block ${block} brought something else`);
