import { mkdtempSync, rmSync, writeFileSync, truncateSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALICE, DEVICE, SHARE, problemsOf, text } from './support.js';

/** Each case: the text with a mark before every place where a problem is expected, and what each problem must say. */
const cases: readonly [string, string, readonly RegExp[]][] = [
  // Syntax.
  ['a missing comma', '{ "state": "s" §"listen": {} }', [/a "," belongs before this; correct the syntax$/]],
  ['an unclosed text', '{ "state": §"s\n }', [/the text is not closed/]],
  ['an empty file', '§', [/a value belongs here/]],
  ['a key twice', text({ top: '§"state": "other",' }), [/^.*: state: the key is there already, on line 2; remove one of the two$/]],
  ['a nested key twice', text({ admin: '{ "path": "a",\n §"path": "b" }' }), [/admin\.path: the key is there already, on line 5/]],

  // Shape.
  ['not an object', '§[]', [/: \[\] is not valid here; write the configuration as an object in braces$/]],
  [
    'a key that is missing',
    '§{ "listen": { "unix": { "path": "s" } }, "admin": { "path": "a" }, "devices": [' + DEVICE + '], "tenants": [] }',
    [/: state: this key is missing; write a path/],
  ],
  ['an unknown key', text({ top: '§"colour": 1,' }), [/: colour: there is no such key; the keys here are \$schema, state, isolation, listen, admin/]],
  [
    'a mistyped key',
    text({ tenants: '{ "name": "a", "uid": 1, §"weigth": 5 }' }),
    [/: tenants\[0\]\.weigth: there is no such key; did you mean "weight"\?$/],
  ],
  [
    'a mistyped key inside a choice',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", §"qeuePairs": 1, "namespaces": [{ "size": 4096 }] } }', tenants: '' }),
    [/devices\[0\]\.backing\.qeuePairs: .* did you mean "queuePairs"\?$/],
  ],
  [
    'an unknown backing',
    text({ devices: '{ "name": "x", "backing": { "kind": §"real", "namespaces": [] } }', tenants: '' }),
    [/devices\[0\]\.backing\.kind: "real" is not valid here; write an object with "kind": "emulated", "qemu" or "pci"$/],
  ],
  [
    'a size without a unit',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": §"512M" }] } }', tenants: '' }),
    [/namespaces\[0\]\.size: "512M" is not valid here; write bytes as a number or with a unit, such as "512 MiB", from 512 to/],
  ],
  [
    'a size that is a fraction',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": §1.5 }] } }', tenants: '' }),
    [/1\.5 is not valid here; write bytes/],
  ],
  [
    'a negative size',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": §-1 }] }' }),
    [/shares\[0\]\.size: -1 is not valid here; write bytes as a number or with a unit \("512 MiB"\), or blocks \("131072 blocks"\)$/],
  ],
  [
    'a size beyond exact numbers',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": §"9999999 TiB" }] }' }),
    [/"9999999 TiB" is not valid here/],
  ],
  ['a duration without a unit', text({ top: '"drain": §"5",' }), [/drain: "5" is not valid here; write a time with a unit, such as "5 s"/]],
  ['a duration that is too long', text({ top: '"drain": §"2 h",' }), [/from 0 to 3600000 ms$/]],
  [
    'a number out of range',
    text({ tenants: '{ "name": "a", "uid": 1, "weight": §0 }' }),
    [/weight: 0 is not valid here; write a whole number from 1 to 1000$/],
  ],
  [
    'a number in text',
    text({ tenants: '{ "name": "a", "uid": §"1000" }' }),
    [/uid: "1000" is not valid here; write a user id \(a number\), or "server"/],
  ],
  ['a bad name', text({ tenants: '{ "name": §"al/ice", "uid": 1 }' }), [/name: "al\/ice" is not valid here; write 1 to 64 letters/]],
  [
    'a mode in decimal',
    text({ listen: '{ "unix": { "path": "s", "mode": §438 } }' }),
    [/mode: 438 is not valid here; write the mode in octal digits/],
  ],
  [
    'a ring that is no power of two',
    text({ tenants: '{ "name": "a", "uid": 1, "limits": { "ringEntries": §100 } }' }),
    [/ringEntries: 100 is not valid here; write a power of two from 2 to 1024$/],
  ],
  [
    'an unknown right',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": 512, "access": [§"erase"] }] }' }),
    [/access\[0\]: "erase" is not valid here; write a list of one or more of "read", "write", each once$/],
  ],
  [
    'a right twice',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": 512, "access": §["read", "read"] }] }' }),
    [/access: \["read","read"\] is not valid here/],
  ],
  ['a level that is none', text({ top: '"log": { "level": §"loud" },' }), [/log\.level: "loud" is not valid here; write "debug" or "info"/]],
  [
    'a wide serial number',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "serial": §"é", "namespaces": [{ "size": 4096 }] } }', tenants: '' }),
    [/serial: .* write 1 to 20 printable ASCII characters$/],
  ],

  // Names and credentials.
  [
    'a device twice',
    text({ devices: `${DEVICE},\n{ "name": §"nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": 4096 }] } }` }),
    [/devices\[1\]\.name: device "nvme0" is there already, on line 7; give it another name$/],
  ],
  [
    'a tenant twice',
    text({ tenants: `{ "name": "a", "uid": 1 },\n{ "name": §"a", "uid": 2 }` }),
    [/tenants\[1\]\.name: tenant "a" is there already, on line 10/],
  ],
  [
    'a share twice',
    text({ tenants: `{ "name": "a", "uid": 1, "shares": [${SHARE},\n{ "name": §"data", "device": "nvme0", "first": "64 KiB", "size": 512 }] }` }),
    [/shares\[1\]\.name: share "data" is there already, on line 10/],
  ],
  [
    'a uid of two tenants',
    text({ tenants: '{ "name": "a", "uid": 7 },\n{ "name": "b", "uids": [8, §7] }' }),
    [/tenants\[1\]\.uids\[1\]: user id 7 is that of tenant "a" too \(line 10\); give each tenant a user id of its own, or say "isolation": "none"/],
  ],
  [
    '"server" is a uid like any other',
    text({ tenants: '{ "name": "a", "uid": "server" },\n{ "name": "b", "uid": §500 }' }),
    [/user id 500 is that of tenant "a" too/],
  ],
  [
    'the overflow uid',
    text({ tenants: '{ "name": "a", "uid": §65534 }' }),
    [/user id 65534 stands for anyone whom the kernel cannot name; give the tenant an id of its own, or a token$/],
  ],
  ['the overflow gid', text({ tenants: '{ "name": "a", "gid": §65534 }' }), [/group id 65534 stands for anyone/]],
  [
    'a tenant without credentials',
    text({ tenants: '§{ "name": "a" }' }),
    [/tenants\[0\]: tenant "a" cannot be told from anybody else; give it a uid, a gid or a token$/],
  ],
  [
    'a token in clear text',
    text({ tenants: '{ "name": "a", "token": §"rwt_verysecretverysecret" }' }),
    [/token: the value \(not shown: it may be a secret\) is not valid here; .*never the token itself$/],
  ],
  [
    'a hash that is none',
    text({ tenants: '{ "name": "a", "token": { "sha256": §"abc" } }' }),
    [/sha256: the value \(not shown.*64 hexadecimal digits/],
  ],
  [
    'a token twice',
    text({ tenants: `{ "name": "a", "token": { "sha256": "${'ab'.repeat(32)}" } },\n{ "name": "b", "token": §{ "sha256": "${'ab'.repeat(32)}" } }` }),
    [/tenants\[1\]\.token: the token is that of tenant "a" too \(line 10\)/],
  ],
  [
    'a token file that is not there',
    text({ tenants: '{ "name": "a", "token": { "file": §"none.token" } }' }),
    [/token\.file: \/nowhere\/none\.token cannot be read \(ENOENT\); make a token/],
  ],

  // Devices and windows.
  [
    'an unknown device',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": §"nvme1", "size": 512 }] }' }),
    [/shares\[0\]\.device: there is no device "nvme1"; name one of: nvme0$/],
  ],
  [
    'an unknown namespace',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "namespace": §2, "size": 512 }] }' }),
    [/namespace: device "nvme0" has no namespace 2; name one from 1 to 1/],
  ],
  [
    'a window that is no whole number of blocks',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "first": §100, "size": §1000 }] }' }),
    [/first: not a whole number of blocks of 512 bytes; write a multiple of 512 bytes$/, /size: not a whole number/],
  ],
  [
    'a window of nothing',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": §0 }] }' }),
    [/a window of no blocks/],
  ],
  [
    'a window beyond the end by one block',
    text({ tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "first": "512 B", "size": §"1 MiB" }] }' }),
    [/blocks 1 to 2048 do not lie inside the namespace; it has 2048 blocks of 512 bytes \(1 MiB\)$/],
  ],
  [
    'a window whose end is beyond exact numbers',
    text({
      tenants:
        '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "first": "9007199254740991 blocks", "size": §"9007199254740991 blocks" }] }',
    }),
    [/do not lie inside the namespace/],
  ],
  [
    'two tenants on the same blocks',
    text({
      tenants:
        `${ALICE},\n§{ "name": "b", "uid": 2, "shares": [§{ "name": "mine", "device": "nvme0", "first": "127 blocks", "size": 512 }] }`.replace(
          '§{ "name": "b"',
          '{ "name": "b"',
        ),
    }),
    [
      /tenants\[1\]\.shares\[0\]: blocks 127 to 127 belong to share "data" of tenant "alice" \(tenants\[0\]\.shares\[0\], line 10\) too; move one of them, or say "shared": true in both$/,
    ],
  ],
  [
    'only one says shared',
    text({ tenants: `${ALICE},\n{ "name": "b", "uid": 2, "shares": [§{ "name": "d", "device": "nvme0", "size": 512, "shared": true }] }` }),
    [/blocks 0 to 0 belong to share "data" of tenant "alice"/],
  ],
  [
    'an operation without its right',
    text({
      tenants:
        '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": 512, "access": ["read"], "operations": ["read", §"writeZeroes"] }] }',
    }),
    [/operations\[1\]: "writeZeroes" needs the right to write, which the share does not give; add "write" to access/],
  ],
  [
    'an image twice',
    text({
      devices:
        '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB", "image": "/tmp/ringwarden-none.img" }, { "size": "1 MiB", "image": §"/tmp/ringwarden-none.img" }] } }',
    }),
    [/namespaces\[1\]\.image: the image \/tmp\/ringwarden-none\.img is used already, on line 7/],
  ],
  [
    'an image without a folder',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": "1 MiB", "image": §"no/x.img" }] } }' }),
    [/the folder \/nowhere\/no is not there/],
  ],
  [
    'a namespace without a size',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [§{ }] } }', tenants: '' }),
    [/namespaces\[0\]: the size of the namespace is not known; add "size"/],
  ],
  [
    'a namespace that is no whole number of blocks',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [{ "size": §4608, "blockBytes": 4096 }] } }', tenants: '' }),
    [/size: 4608 bytes are not a whole number of blocks of 4096/],
  ],
  [
    'a transfer that is no power of two',
    text({ devices: '{ "name": "nvme0", "backing": { "kind": "emulated", "maxTransfer": §"12 KiB", "namespaces": [{ "size": "1 MiB" }] } }' }),
    [/maxTransfer: not a power of two times 4 KiB/],
  ],

  // The machine.
  ['nowhere to connect', text({ listen: '§{}' }), [/listen: nobody could connect/]],
  [
    'the same socket for both',
    text({ admin: '{ "path": §"./s.sock" }' }),
    [/admin\.path: clients and the administrator cannot have the same socket/],
  ],
  ['a socket path that is too long', text({ admin: `{ "path": §"${'x'.repeat(110)}" }` }), [/longer than 107 bytes/]],
  [
    'TCP for everybody without TLS',
    text({ listen: '{ "tcp": { "host": §"0.0.0.0", "port": 1 } }', tenants: `{ "name": "a", "token": { "sha256": "${'ab'.repeat(32)}" } }` }),
    [/host: 0\.0\.0\.0 is not a loopback address, and there is no TLS/],
  ],
  ['TCP although nobody has a token', text({ listen: '{ "tcp": §{ "port": 1 } }' }), [/listen\.tcp: no tenant has a token/]],
  [
    'a certificate that is not there',
    text({
      listen: '{ "tcp": { "port": 1, "tls": { "cert": §"c.pem", "key": §"k.pem" } } }',
      tenants: `{ "name": "a", "token": { "sha256": "${'ab'.repeat(32)}" } }`,
    }),
    [/tls\.cert: \/nowhere\/c\.pem cannot be read/, /tls\.key: /],
  ],
  [
    'metrics for everybody',
    text({ admin: '{ "path": "a", "metrics": { "host": §"::", "port": 1 } }' }),
    [/metrics\.host: :: is not a loopback address/],
  ],
  ['a group that is not there', text({ admin: '{ "path": "a", "group": §"nobodies" }' }), [/admin\.group: there is no group "nobodies"/]],
  [
    'limits that contradict each other',
    text({ top: '"limits": { "sendPause": "2 MiB", "sendClose": §"1 MiB" },' }),
    [/sendClose: smaller than sendPause; write at least 2 MiB$/],
  ],
  [
    'staging that cannot be pinned',
    text({ tenants: '{ "name": "a", "uid": 1, "limits": §{ "pinned": "1 MiB", "staging": "2 MiB" } }' }),
    [/staging \(2 MiB\) does not fit into pinned \(1 MiB\)/],
  ],
];

describe('a configuration that cannot be used', () => {
  it.each(cases)('%s', (_name, marked, messages) => {
    const { problems, places, marks } = problemsOf(marked);
    expect(problems.map(String)).toEqual(messages.map((message) => expect.stringMatching(message) as string));
    expect(places).toEqual(marks);
  });

  it('never shows a token', () => {
    const { problems } = problemsOf(text({ tenants: '{ "name": "a", "token": "rwt_verysecretverysecret", "tokn": 1 }' }));
    expect(problems.map(String).join('\n')).not.toContain('verysecret');
    expect(problems).toHaveLength(2);
  });

  it('tells every problem at once, of shape and between parts, in the order of the file', () => {
    const { places, marks, problems } = problemsOf(`{
      "state": §7,
      "listen": { "unix": { "path": "s.sock" } },
      "admin": { "path": "admin.sock" },
      "devices": [
        ${DEVICE},
        { "name": "bad", "backing": { "kind": "emulated", "namespaces": §[] } },
      ],
      "tenants": [
        ${ALICE},
        { "name": "bob", "uid": §1000, "shares": [
          §{ "name": "d", "device": "nvme0", "size": "1 MiB" },
          { "name": "e", "device": "bad", "size": "1 MiB" },
          { "name": "f", "device": §"nvme9", "size": "1 MiB" },
        ] },
        { "name": "carol", "uid": 3, §"shars": [] },
      ],
    }`);
    expect(places).toEqual(marks);
    // The share on the device that is not well-formed is not blamed for naming it.
    expect(problems.map(({ path }) => path)).toEqual([
      'state',
      'devices[1].backing.namespaces',
      'tenants[1].uid',
      'tenants[1].shares[0]',
      'tenants[1].shares[2].device',
      'tenants[2].shars',
    ]);
  });
});

describe('files that the configuration names', () => {
  let folder: string;
  const at = (name: string): string => join(folder, name);
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringwarden-config-'));
    writeFileSync(at('open.token'), 'rwt_0123456789012345678901\n', { mode: 0o644 });
    writeFileSync(at('short.token'), 'secret\n', { mode: 0o600 });
    writeFileSync(at('big.img'), '');
    truncateSync(at('big.img'), 2 ** 20);
    mkdirSync(at('dir.img'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const device = (namespace: string): string => `{ "name": "nvme0", "backing": { "kind": "emulated", "namespaces": [${namespace}] } }`;
  it.each([
    [
      'a token file that others can read',
      text({ tenants: '{ "name": "a", "token": { "file": §"open.token" } }' }),
      /open\.token can be read by others; run "chmod 600/,
    ],
    [
      'a token that can be guessed',
      text({ tenants: '{ "name": "a", "token": { "file": §"short.token" } }' }),
      /does not hold a token of 22 to 256 characters/,
    ],
    [
      'an image that would have to be cut',
      text({ devices: device('{ "size": "64 KiB", "image": §"big.img" }') }),
      /the image has 1 MiB, more than the size of the namespace/,
    ],
    ['an image that is a folder', text({ devices: device('{ "size": "64 KiB", "image": §"dir.img" }') }), /dir\.img is not a plain file/],
    [
      'a window beyond an image that tells the size',
      text({
        devices: device('{ "image": "big.img" }'),
        tenants: '{ "name": "a", "uid": 1, "shares": [{ "name": "d", "device": "nvme0", "size": §"2 MiB" }] }',
      }),
      /it has 2048 blocks/,
    ],
  ])('%s', (_name, marked, message) => {
    const { problems, places, marks } = problemsOf(marked, at('conf.jsonc'));
    expect(problems.map(String)).toEqual([expect.stringMatching(message)]);
    expect(places).toEqual(marks);
  });
});
