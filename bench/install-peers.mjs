/** `npm run bench:peers`: installs from the distribution what the benchmarks stand beside. Nothing else here installs anything. */
import { spawnSync } from 'node:child_process';

/** qemu-storage-daemon is in qemu-system-common; the emulated machine of `qemu-*` in qemu-system-x86. */
const PACKAGES = ['fio', 'nbdkit', 'qemu-utils', 'qemu-system-common', 'qemu-system-x86', 'gcc', 'libc6-dev'];
const STEPS = [
  ['apt-get', 'update'],
  ['apt-get', 'install', '--yes', '--no-install-recommends', ...PACKAGES],
];

const asRoot = process.getuid() === 0 ? [] : ['sudo'];
for (const step of STEPS) {
  const [command, ...args] = [...asRoot, ...step];
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status === 0) continue;
  console.error(
    `${step.join(' ')}: ${error?.message ?? `status ${status}`}; on another distribution install ${PACKAGES.join(', ')} with its own tools`,
  );
  process.exit(1);
}
