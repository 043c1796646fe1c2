/**
 * Compiles the addons `shm` and `device` with g++ (or $CXX): `node scripts/build-native.mjs [--sanitize] [--force]`.
 *
 * Writes build/shm.node and build/device.node, or both to build/asan with --sanitize (load them with LD_PRELOAD set to the compiler's libasan.so). Headers come from
 * npm packages, so nothing is looked for outside the checkout. Does nothing for an addon when sources, headers, compiler and flags are those of the last build.
 */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const run = promisify(execFile);

const compileFlags = [
  '-std=c++17', '-O2', '-g1', '-fPIC', '-fvisibility=hidden', '-fstack-protector-strong', '-fstack-clash-protection',
  '-Wall', '-Wextra', '-Wshadow', '-Werror', '-D_FILE_OFFSET_BITS=64', '-DNAPI_VERSION=8', '-DNAPI_CPP_EXCEPTIONS',
  // Also what is not a JavaScript error (out of memory) becomes one; what cannot be thrown because its thread is ending is dropped.
  '-DNODE_ADDON_API_CPP_EXCEPTIONS_ALL', '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
]; // prettier-ignore
const hardenedFlags = ['-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2'];
const sanitizeFlags = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer'];
// Stays loaded when the last thread that uses it ends: one of its own threads runs on.
const linkFlags = ['-shared', '-Wl,-z,relro,-z,now,-z,noexecstack,-z,nodelete'];
// Nothing but the two entry points is seen from outside: no C++ symbol meets one of Node's.
const exported = '{ global: napi_register_module_v1; node_api_module_get_api_version_v1; local: *; };';
// One binary for machines with another C++ library than the one it was built on, or none.
const staticFlags = ['-static-libstdc++', '-static-libgcc'];

/** The sources of each addon, in src/native, and what both have: how arguments are checked, and how SIGBUS is taken. */
const checks = ['arguments.cc', 'bus-errors.h', 'errors.cc', 'shm.h'];
const addons = {
  shm: (name) => !name.includes('/'),
  device: (name) => name.startsWith('device/') || checks.includes(name),
};

/** Options of one kind of build of an addon: where it goes and the flags of its two steps. */
function plan(addon, sanitize) {
  const headers = [require('node-api-headers').include_dir, require('node-addon-api').include_dir];
  const include = headers.flatMap((folder) => ['-isystem', folder]);
  return sanitize
    ? {
        output: `build/asan/${addon}.node`,
        headers,
        compile: [...compileFlags, ...include, ...sanitizeFlags],
        link: [...linkFlags, ...sanitizeFlags],
      }
    : { output: `build/${addon}.node`, headers, compile: [...compileFlags, ...include, ...hardenedFlags], link: [...linkFlags, ...staticFlags] };
}

/** The compiler's version line; ends the process with advice when there is none. */
function compilerVersion(compiler) {
  const { error, status, stdout } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
  if (error === undefined && status === 0) return stdout.split('\n')[0];
  console.error(`build-native: the C++ compiler "${compiler}" cannot be run (${error?.code ?? `status ${status}`}).`);
  console.error('Install it (Debian, Ubuntu: package "g++"; Fedora: "gcc-c++"; Alpine: "g++"), or name another one in CXX.');
  process.exit(1);
}

/** Changes whenever the result could: of the inputs the contents count, not their times. */
function fingerprint(inputs, ...facts) {
  const hash = createHash('sha256').update(JSON.stringify(facts));
  for (const input of inputs) hash.update(`\0${basename(input)}\0`).update(readFileSync(input));
  return hash.digest('hex');
}

async function build(addon, { sanitize, force }) {
  const source = join(root, 'src/native');
  const all = readdirSync(source, { recursive: true, encoding: 'utf8' });
  const files = all.filter((name) => /\.(cc|h)$/.test(name) && addons[addon](name)).sort(); // prettier-ignore
  const { output, headers, compile, link } = plan(addon, sanitize);
  const compiler = process.env.CXX || 'g++';
  const version = compilerVersion(compiler);
  const target = join(root, output);
  const stamp = `${target}.sha256`;
  const inputs = [...files.map((name) => join(source, name)), ...headers.map((folder) => join(folder, '../package.json')).filter(existsSync)];
  const print = fingerprint(inputs, version, process.arch, compile.filter((flag) => !flag.startsWith('/')), link, exported); // prettier-ignore
  if (!force && existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === print) return;

  mkdirSync(dirname(target), { recursive: true });
  // Beside the target, so that the renames are atomic; several builds at once do not meet.
  const work = mkdtempSync(join(dirname(target), `.${addon}-`));
  try {
    const sources = files.filter((name) => name.endsWith('.cc'));
    const objects = sources.map((name) => join(work, `${basename(name)}.o`));
    await Promise.all(sources.map((name, i) => run(compiler, [...compile, '-c', join(source, name), '-o', objects[i]])));
    writeFileSync(join(work, 'exported'), exported);
    await run(compiler, [...objects, ...link, `-Wl,--version-script=${join(work, 'exported')}`, '-o', join(work, 'addon.node')]);
    writeFileSync(join(work, 'stamp'), print);
    renameSync(join(work, 'addon.node'), target);
    renameSync(join(work, 'stamp'), stamp);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  console.log(`build-native: ${output} (${version})`);
}

const { values } = parseArgs({ options: { sanitize: { type: 'boolean', default: false }, force: { type: 'boolean', default: false } } });
try {
  for (const addon of Object.keys(addons)) await build(addon, values);
} catch (error) {
  console.error(`build-native: ${error.stderr || error.message}`);
  process.exitCode = 1;
}
