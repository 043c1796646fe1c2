/** What failed system calls mean here. */
import { HardwareError } from '../task.js';

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

export function syscallOf(error: unknown): string {
  return error instanceof Error && 'syscall' in error ? String(error.syscall) : '';
}

/** Runs a step of giving things up, of which none keeps the next from being done. */
export function attempt(step: () => void): void {
  try {
    step();
  } catch {
    // The device or the file is gone: there is nothing left to give back.
  }
}

/** Why pages could not be pinned, or found. Errors of another kind stay what they are. */
export function pinError(error: unknown, bytes: number): unknown {
  const code = codeOf(error);
  switch (syscallOf(error)) {
    case 'io_uring_setup':
      if (code === 'ENOMEM') return lockedMemory(bytes);
      if (code === 'EMFILE' || code === 'ENFILE')
        return new HardwareError('exhausted', `no more files may be open (${code}): raise the limit ("ulimit -n", LimitNOFILE= in systemd)`);
      return new HardwareError('unpinned', `pages cannot be pinned: this process has no io_uring (${code})`);
    case 'io_uring_register':
    case 'VFIO_IOMMU_MAP_DMA':
      if (code === 'ENOMEM') return lockedMemory(bytes);
      if (code === 'ENOSPC')
        return new HardwareError('exhausted', 'the IOMMU takes no more mappings: raise "dma_entry_limit" of the module vfio_iommu_type1');
      return new HardwareError('unpinned', `pages cannot be pinned: ${code}`);
    case 'pagemap':
      if (code === 'EPERM') return new HardwareError('unsupported', 'the kernel hides physical addresses from this process: it needs CAP_SYS_ADMIN');
      return new HardwareError('unpinned', `pages cannot be found in memory: ${code}`);
    default:
      return error;
  }
}

function lockedMemory(bytes: number): HardwareError {
  return new HardwareError('exhausted', `${bytes} more bytes may not be locked: raise the limit ("ulimit -l", LimitMEMLOCK= in systemd)`);
}
