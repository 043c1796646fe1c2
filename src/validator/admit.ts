import { Code, EntryWord } from '../protocol/index.js';
import { blocksRule, lbaRule, rightRule } from './blocks.js';
import { leaseRule, operationRule, reservedRule } from './identity.js';
import { lengthRule, placeRule } from './memory.js';
import { NEEDS } from './needs.js';
import { rangesRule } from './ranges.js';
import type { Attachment, Grant, LeaseState } from './types.js';

// Constants of the module, here and in the rules, rather than properties of an imported table: all rules then fit into what V8 inlines here.
const { head: HEAD, tagLow: TAG_LOW, tagHigh: TAG_HIGH } = EntryWord;
const { unknownShare, tagInUse, inFlightLimit } = Code;

/** What depends on the other requests in flight comes last: all else was right, and the same entry may be sent again later. */
function momentRule(entry: Uint32Array, grant: Grant, lease: LeaseState): number {
  if (lease.tags.has(entry[TAG_LOW], entry[TAG_HIGH])) return tagInUse;
  return lease.inFlight < grant.maxInFlight ? 0 : inFlightLimit;
}

/**
 * The only judge of a request: 0 when it is admitted, or the code of the first rule that it breaks. The rules, in their order:
 *
 * 1. lease: leaseNotActive, leaseMismatch, queueMismatch, staleGeneration
 * 2. form: reservedBits, unknownOperation, unknownFlag
 * 3. share: unknownShare, noReadRight, noWriteRight, operationNotGranted
 * 4. blocks: blocksZero, blocksTooMany, blocksNotUsed; lbaOutsideShare, lbaNotUsed
 * 5. memory: lengthMismatch, lengthNotUsed, attachmentLength; unknownRegion, regionNotUsed, offsetOutsideRegion, offsetMisaligned, offsetNotUsed
 * 6. attachment: attachmentMissing; then for each range in turn rangeReserved, rangeEmpty, rangeOutsideShare
 * 7. moment: tagInUse, inFlightLimit
 *
 * `entry` is 16 words and `attachment` what {@link attachmentToFetch} allowed, both in memory that no client can write (R04). It is total:
 * whatever the words are, it returns, after at most 256 ranges and one look for the tag. It is pure: it changes nothing and allocates nothing.
 *
 * An entry that is admitted names an operation that the share grants, blocks inside the share, and bytes inside a region of the domain.
 */
export function admit(entry: Uint32Array, attachment: Attachment, grant: Grant, lease: LeaseState): number {
  let code = leaseRule(entry, lease);
  if (code !== 0) return code;
  code = reservedRule(entry);
  if (code !== 0) return code;
  code = operationRule(entry);
  if (code !== 0) return code;

  const operation = entry[HEAD] & 0xff;
  const needs = NEEDS[operation];
  const index = entry[HEAD] >>> 16;
  if (index >= grant.shares.length) return unknownShare;
  const share = grant.shares[index];

  code = rightRule(operation, needs, share);
  if (code !== 0) return code;
  code = blocksRule(entry, needs, share);
  if (code !== 0) return code;
  code = lbaRule(entry, needs, share);
  if (code !== 0) return code;
  code = lengthRule(entry, needs, share);
  if (code !== 0) return code;
  code = placeRule(entry, needs, lease.regions);
  if (code !== 0) return code;
  code = needs.attachment ? rangesRule(entry, attachment, share) : 0;
  if (code !== 0) return code;
  return momentRule(entry, grant, lease);
}
