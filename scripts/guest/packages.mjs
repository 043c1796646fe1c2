/**
 * The Debian packages that the guest is made of: which ones, of which version, downloaded but never installed.
 *
 * Everything of the kernel has the version of its image, whatever is newer: modules load into exactly the kernel that they were built for.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { GuestFailure } from './progress.mjs';

const run = promisify(execFile);

/** What `apt-cache` prints, in words that do not depend on the user's language. */
async function aptCache(...args) {
  try {
    return (await run('apt-cache', args, { env: { ...process.env, LC_ALL: 'C' } })).stdout;
  } catch (error) {
    throw new GuestFailure(`apt-cache ${args.join(' ')}: ${error.stderr.trim()}. If the package lists are missing: apt-get update`);
  }
}

const dependencies = async (...what) => [...(await aptCache('depends', ...what)).matchAll(/^ *\|?Depends: ([\w.+-]+)$/gm)].map(([, name]) => name);

/** The package's fields in one version of it, or in the newest. */
async function show(name, version) {
  const text = await aptCache('show', '--no-all-versions', version === undefined ? name : `${name}=${version}`);
  return Object.fromEntries([...text.matchAll(/^([\w-]+): (.*)$/gm)].map(([, field, value]) => [field, value]));
}

/**
 * @returns `release` ('6.1.0-1-amd64', as `uname -r` has it), `version` ('6.1.1-1', of the image's package), `series` ('6.1'), and `packages`: what `apt-get
 * download` is to be given
 */
export async function findPackages() {
  const image = (await dependencies('linux-image-amd64')).find((name) => name.startsWith('linux-image-'));
  if (image === undefined) throw new GuestFailure('apt knows no package linux-image-amd64: apt-get update, on Debian');
  const release = image.replace('linux-image-', '');
  const { Version: version } = await show(image);
  const series = /^\d+\.\d+/.exec(release)[0];
  const headers = `linux-headers-${release}`;
  const wanted = [image, headers, ...(await dependencies(`${headers}=${version}`)), `linux-source-${series}`];
  const pinned = wanted.filter((name) => name.startsWith('linux-')).map((name) => `${name}=${version}`);
  return { release, version, series, packages: [...pinned, 'busybox-static'] };
}

/** Downloads them into a folder. apt checks their signatures and sums. */
export async function download(packages, folder) {
  // As root, apt would download as another user, who cannot write there.
  const args = ['-qq', '-o', 'APT::Sandbox::User=root', 'download', ...packages];
  try {
    await run('apt-get', args, { cwd: folder });
  } catch (error) {
    throw new GuestFailure(`apt-get download: ${error.stderr.trim()}\nIf a version is not there any more, the package lists are old: apt-get update`);
  }
}
