/** An expansion ROM image (PCI Local Bus 3.0, 6.3), with what may be wrong with it. */

export interface RomFaults {
  readonly signature?: number;
  /** Where the data structure is said to be. */
  readonly pointer?: number;
  readonly pcir?: number;
  /** Length as the image has it, in units of 512 bytes. */
  readonly units?: number;
  readonly last?: boolean;
}

/** `bytes` is a multiple of 512, at least that. Its content is a pattern. */
export function romImage(
  bytes: number,
  { signature = 0xaa55, pointer = 0x1c, pcir = 0x5249_4350, units = bytes / 512, last = true }: RomFaults = {},
): Uint8Array {
  const image = Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + (at >> 8)) & 0xff);
  const view = new DataView(image.buffer);
  view.setUint16(0, signature, true);
  view.setUint16(0x18, pointer, true);
  view.setUint32(0x1c, pcir, true);
  view.setUint16(0x1c + 0x10, units, true);
  view.setUint8(0x1c + 0x15, last ? 0x80 : 0x00);
  return image;
}
