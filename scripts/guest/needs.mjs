/** What the machine must have for the guest: programs, by the Debian package that brings each. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { GuestFailure } from './progress.mjs';

const PACKAGES = {
  'qemu-system-x86_64': 'qemu-system-x86',
  setpriv: 'util-linux',
  gcc: 'gcc',
  make: 'make',
  tar: 'tar',
  xz: 'xz-utils',
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
};

function isThere(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @throws GuestFailure that names everything that is missing, with the command that installs it */
export function checkNeeds() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new GuestFailure(`the guest runs on Linux on x86-64 only, not on ${process.platform} ${process.arch}`);
  const missing = Object.keys(PACKAGES).filter((program) => !isThere(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((program) => PACKAGES[program]))];
  throw new GuestFailure(
    `${missing.join(', ')} not found. The guest is made from Debian's packages, on Debian or what is derived from it: apt-get install ${packages.join(' ')}`,
  );
}
