/**
 * Every reason for which the server says no, and every way in which a request can end badly.
 *
 * A `refuse` leaves the session as it is. A `fault` means that the contract itself is broken: the session ends.
 * Numbers are part of the wire contract: they are never used again for something else.
 */
export type Severity = 'ok' | 'refuse' | 'fault';

export interface CodeFacts {
  readonly code: number;
  readonly severity: Severity;
  /** The path of the field that the code is about, where that is always the same one. */
  readonly field: string;
  readonly reason: string;
  readonly remedy: string;
}

const refuse = (code: number, field: string, reason: string, remedy: string): CodeFacts => ({ code, severity: 'refuse', field, reason, remedy });
const fault = (code: number, field: string, reason: string, remedy: string): CodeFacts => ({ code, severity: 'fault', field, reason, remedy });

export const CODES = {
  ok: { code: 0, severity: 'ok', field: '', reason: 'done', remedy: '' },

  // 1-99: a request entry, judged by the validator. Each is one rule.
  leaseNotActive: refuse(1, '', 'the lease is being reset, revoked or closed', 'wait for the event that tells its end, or open the device again'),
  leaseMismatch: refuse(
    2,
    'lease',
    'the entry names a lease that this queue does not belong to',
    'use the handle that openDevice returned to this session',
  ),
  queueMismatch: refuse(3, 'queue', 'the entry names another queue than the one that it was sent to', 'use the index that openQueue returned'),
  staleGeneration: refuse(
    4,
    'generation',
    'the entry was written before the last reset of the lease',
    'use the generation from the reset answer or event',
  ),
  reservedBits: refuse(5, 'reserved', 'a reserved field is not zero', 'clear the reserved bytes'),
  unknownOperation: refuse(6, 'operation', 'there is no such operation', 'use one of the documented operations'),
  unknownFlag: refuse(7, 'flags', 'an unknown flag is set, or one that this operation does not take', 'clear the flag'),
  unknownShare: refuse(8, 'share', 'the lease has no share with this index', 'use an index from the openDevice answer'),
  noReadRight: refuse(9, 'share', 'the share may not be read', 'ask the administrator for read access'),
  noWriteRight: refuse(10, 'share', 'the share may not be written', 'ask the administrator for write access'),
  operationNotGranted: refuse(11, 'operation', 'the share does not grant this operation', 'ask the administrator for the operation'),
  blocksZero: refuse(12, 'blocks', 'a request for no blocks', 'ask for at least one block'),
  blocksTooMany: refuse(13, 'blocks', 'more blocks than one request may carry on this share', 'split the request at maxBlocks of the share'),
  blocksNotUsed: refuse(14, 'blocks', 'the operation takes no blocks, and the field is not zero', 'clear the field'),
  lbaOutsideShare: refuse(15, 'lba', 'the blocks do not lie inside the share', 'stay below the number of blocks of the share'),
  lbaNotUsed: refuse(16, 'lba', 'the operation takes no block address, and the field is not zero', 'clear the field'),
  lengthMismatch: refuse(17, 'length', 'the length is not blocks times the block size', 'set length to blocks x block size'),
  lengthNotUsed: refuse(18, 'length', 'the operation moves no data, and the length is not zero', 'clear the field'),
  unknownRegion: refuse(19, 'region', 'the domain has no such region: never mapped, unmapped since, or of another tenant', 'map the memory first'),
  regionNotUsed: refuse(20, 'region', 'the operation uses no memory, and a region is named', 'clear the field'),
  offsetOutsideRegion: refuse(21, 'offset', 'the data do not lie inside the region', 'keep offset + length within the region'),
  offsetMisaligned: refuse(22, 'offset', 'the data do not start at a multiple of four bytes', 'align the offset'),
  offsetNotUsed: refuse(23, 'offset', 'the operation uses no memory, and an offset is named', 'clear the field'),
  attachmentLength: refuse(24, 'length', 'the attachment is empty, too long, or not a whole number of ranges', 'send 1 to 256 ranges of 16 bytes'),
  rangeReserved: refuse(25, 'attachment', 'a reserved field of a range is not zero', 'clear it'),
  rangeEmpty: refuse(26, 'attachment', 'a range of no blocks', 'leave the range out'),
  rangeOutsideShare: refuse(27, 'attachment', 'a range does not lie inside the share', 'stay below the number of blocks of the share'),
  tagInUse: refuse(28, 'tag', 'another request of this queue with the same tag is in flight', 'use a tag again only after its completion'),
  inFlightLimit: refuse(29, '', 'the lease has as many requests in flight as its grant allows', 'wait for completions'),
  attachmentMissing: refuse(30, 'attachment', 'the attachment could not be fetched whole', 'write the attachment before the entry'),

  // 100-199: what a session asks for, judged by the session.
  malformed: fault(100, '', 'the message is not a well-formed message of this protocol', 'see docs/protocol.md'),
  messageTooLarge: fault(101, '', 'the message is longer than the limit', 'send smaller batches'),
  unknownMessage: fault(102, 'type', 'there is no such message', 'see docs/protocol.md'),
  unknownField: fault(103, '', 'the message has a field that it may not have', 'leave the field out'),
  missingField: fault(104, '', 'the message lacks a field', 'add the field'),
  wrongType: fault(105, '', 'a field has the wrong type', 'see docs/protocol.md'),
  outOfRange: refuse(106, '', 'a number is not a whole number in the allowed range', 'see the limits in the hello answer'),
  wrongVersion: fault(107, 'version', 'the server does not speak this version', 'use a client of the same protocol version'),
  notAuthenticated: fault(108, '', 'a message before hello', 'say hello first'),
  authenticationFailed: fault(109, '', 'no tenant has these credentials', 'check the token, the user id, and the tenant name'),
  alreadyAuthenticated: fault(110, '', 'hello was said before on this connection', 'open another connection'),
  replayedId: fault(111, 'id', 'message ids must rise, and this one does not', 'count ids up from 1'),
  noDomain: refuse(112, '', 'no domain is set for this session', 'send setDomain first'),
  unknownDomain: refuse(137, 'domain', 'the tenant has no such domain', 'use the number that setDomain returned to a session of this tenant'),
  noLease: refuse(138, '', 'no device is open', 'open a device first'),
  domainSet: refuse(113, '', 'a domain is set already', 'unset it first'),
  unknownDevice: refuse(114, 'device', 'no such device is granted to this tenant', 'list the devices'),
  unknownLease: refuse(115, 'lease', 'this session holds no such lease', 'use a handle that openDevice returned to this session'),
  unknownQueue: refuse(116, 'queue', 'the lease has no such queue', 'use an index that openQueue returned'),
  deviceBusy: refuse(117, 'device', 'the device is held in a way that excludes this', 'wait for the holderGone event'),
  notFree: refuse(118, 'device', 'something of the earlier holder is left', 'wait for the holderGone event'),
  noFreeQueue: refuse(119, 'queues', 'no hardware queue pair is free', 'open with shared queues, or wait'),
  pinLimit: refuse(120, 'bytes', 'the tenant would have more memory pinned than it may', 'unmap memory, or ask for a higher limit'),
  regionLimit: refuse(121, '', 'the domain has as many regions as it may', 'unmap memory'),
  sessionLimit: fault(122, '', 'the tenant has as many sessions as it may', 'close one'),
  leaseLimit: refuse(123, '', 'the session has as many leases as it may', 'close one'),
  queueLimit: refuse(124, '', 'the lease has as many queues as it may', 'close one'),
  rangeOutsideRegion: refuse(125, 'offset', 'the bytes do not lie inside the region', 'keep offset + length within the region'),
  regionBusy: refuse(126, 'region', 'requests that use the region are in flight', 'wait for their completions'),
  stagingFull: refuse(127, 'length', 'the requests in flight leave no room for this one in the staging memory', 'wait for completions, or send less'),
  inlineLength: refuse(
    128,
    'data',
    'the data of the message are not the sum of the lengths of its entries',
    'send exactly the data of the inline writes',
  ),
  ringFull: refuse(129, 'entries', 'the queue has no room for these requests', 'wait for completions'),
  unknownVector: refuse(130, 'vector', 'the lease has no such vector', 'stay below the vectors of the openDevice answer'),
  tooManyMessages: fault(
    131,
    '',
    'the session sends more messages a second than it may, or does not read its answers',
    "send fewer (a tenant's limits.messagesPerSecond), and read what the server sends",
  ),
  notInGrant: refuse(132, 'device', 'the grant changed, and no longer covers this', 'list the devices'),
  adminOnly: refuse(133, 'type', 'only the administrator may ask for this', 'use the admin socket'),
  draining: refuse(134, '', 'the server is shutting down', 'connect again later'),
  connectionLimit: fault(135, '', 'the server has as many connections as it may', 'try again later'),
  ringContract: fault(136, 'tail', 'the ring indices moved further than the ring is long', 'see the ring layout in docs/protocol.md'),
  noHandover: refuse(
    139,
    '',
    'no memory is handed over on this connection',
    'connect over the Unix socket of the server, or use submit, writeMemory and readMemory',
  ),
  ticketLimit: refuse(140, '', 'the session has as many tickets as it may', 'use them, or wait until they have expired'),
  notFresh: refuse(141, '', 'it was used or handed over before', 'open another queue, or map other memory'),
  notShared: refuse(142, 'region', 'the memory was not handed over', 'ask for a ticket with shareRegion, and use it'),
  sealFailed: refuse(143, 'region', 'the memory could not be sealed: somebody else set its seals', 'map other memory'),
  queueShared: refuse(144, 'queue', 'requests of this queue are written to its ring', 'write them to the ring'),
  overflowUser: refuse(145, '', 'the kernel does not say which user this program is', 'run it as a user that the server knows'),
  tooManyStrikes: refuse(
    146,
    'device',
    'commands of the tenant did not end, or took resets of the controller, several times within five minutes',
    'open the device again when five minutes have passed',
  ),
  deviceMemoryLimit: refuse(
    147,
    'bytes',
    'the device has no room for one more region of the tenant',
    'unmap memory, or map fewer and larger regions',
  ),
  noRingView: refuse(
    150,
    'queue',
    'the hardware rings of this queue cannot be shown',
    'open the device with own queues and ring views; where memory cannot be split further, close other queues or regions',
  ),
  notAnEventfd: refuse(151, 'fd', 'the descriptor is not an eventfd', 'pass what eventfd(2) returned'),
  noSignal: refuse(
    152,
    'fd',
    'the server has no more event descriptors that it can raise, or its kernel has no asynchronous I/O for it',
    'use interrupt events of the session',
  ),

  viewsNeedOwn: refuse(153, 'ringViews', "the rings of the server's own queue pairs are not shown", 'open the device with own queues'),
  noDescriptor: refuse(154, 'fd', 'not exactly one descriptor came with the ticket', 'send the descriptor together with the ticket'),
  descriptorsHang: refuse(
    155,
    'fd',
    'descriptors that this user sent earlier cannot be closed: their files do not let go',
    'end what keeps them, for example a connection that lingers, and try again',
  ),

  accessMisaligned: refuse(165, 'offset', 'the offset is not a multiple of the width', 'align the offset'),
  outsideConfig: refuse(166, 'offset', 'the configuration space ends before it', 'stay below 256, or 4096 where the function has PCI Express'),
  unknownBar: refuse(167, 'bar', 'the function has no such BAR', 'use an index from the listPciRegions answer'),
  notReadable: refuse(
    168,
    'offset',
    'the access is not inside an area that may be read, or not of its width',
    'read the areas that listPciRegions names',
  ),
  noRom: refuse(169, '', 'the function has no expansion ROM, or none that is valid', 'see the regions in the listPciRegions answer'),
  romDisabled: refuse(170, '', 'the expansion ROM is switched off for this lease', 'set bit 0 of the register at 0x30 with writePciConfig'),
  outsideRom: refuse(171, 'offset', 'the bytes do not lie inside the ROM', 'stay below the bytes of the region ROM'),

  // 200-249: what became of an admitted request, or of a lease.
  deviceError: refuse(200, 'status', 'the device reported an error', 'see the status in the NVMe base specification, figure "Status Code"'),
  compareFailed: refuse(201, '', 'the blocks differ from the data', ''),
  timeout: refuse(202, '', 'the device did not answer in time', 'the outcome is not known: read back before relying on it'),
  reset: refuse(203, '', 'the lease or the controller was reset while the request was in flight', 'the outcome is not known: repeat or read back'),
  revoked: refuse(204, '', 'the lease was revoked', 'open the device again'),
  deviceLost: refuse(205, '', 'the device is gone, or failed', 'wait for the deviceRestored event; after revoked, open the device again'),
  aborted: refuse(206, '', 'the request was given up', ''),
  deviceUnavailable: refuse(207, 'device', 'the device could not be brought up', 'see the server log'),
  internal: fault(249, '', 'the server met something that it did not expect', 'please report it, with the server log'),
} as const satisfies Record<string, CodeFacts>;

export type CodeName = keyof typeof CODES;

/** Numbers by name: `Code.staleGeneration` is 4. */
export const Code = Object.fromEntries(Object.entries(CODES).map(([name, facts]) => [name, facts.code])) as {
  readonly [Name in CodeName]: (typeof CODES)[Name]['code'];
};

const NAMES = new Map<number, CodeName>(Object.entries(CODES).map(([name, facts]) => [facts.code, name as CodeName]));

/** The name of a code, or undefined for a number that is not one. */
export const codeName = (code: number): CodeName | undefined => NAMES.get(code);

/** Fields of an entry that a completion can point to: the wire number of each path. */
export const Field = {
  none: 0,
  operation: 1,
  flags: 2,
  share: 3,
  generation: 4,
  tag: 5,
  lba: 6,
  blocks: 7,
  region: 8,
  offset: 9,
  length: 10,
  lease: 11,
  queue: 12,
  reserved: 13,
  attachment: 14,
  status: 15,
} as const;
export type FieldName = keyof typeof Field;

const FIELDS = Object.keys(Field) as FieldName[];

/** The path of a field number of a completion; the empty string for none or for an unknown number. */
export const fieldName = (field: number): string => (field > 0 && field < FIELDS.length ? FIELDS[field] : '');
