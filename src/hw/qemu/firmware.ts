/**
 * The firmware that parks the one virtual processor: nothing in the machine runs code, only devices work.
 *
 * It is the last 64 KiB below 4 GiB; the processor starts 16 bytes before the end (Intel SDM 3A, 9.1.4).
 */
const FIRMWARE_BYTES = 65_536;
const RESET_VECTOR = 0xfff0;
/** cli; hlt; jmp to the hlt. */
const PARK = [0xfa, 0xf4, 0xeb, 0xfd] as const;

export function parkingFirmware(): Uint8Array {
  const image = new Uint8Array(FIRMWARE_BYTES);
  image.set(PARK, RESET_VECTOR);
  return image;
}
