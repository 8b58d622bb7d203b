import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runTool } from './run-tool.js';
import { testCacheDir } from './test-cache.js';

export interface RootfsOptions {
  /** By default what is in it, and some room. */
  sizeMiB?: number;
  /** That much of random bytes in /data/filler, so that a copy of the image takes its time. */
  fillMiB?: number;
  /** Further lines of the boot script, run before the writer starts. */
  rc?: string[];
  writer?: Writer;
  /** umlsnap's agent runs in the guest, by busybox as its /bin/sh or by the host's dash. */
  agent?: 'busybox' | 'dash';
}

const agentSource = fileURLToPath(new URL('../../src/guest/agent/umlsnap-agent', import.meta.url));

/**
 * What the guest does by itself: `lines` appends numbered lines to /data/log about twenty times a second; `heavy`
 * does that and keeps overwriting /data/heavy with random data, a MiB at a time, with an fsync now and then; `none` is silent.
 */
export type Writer = 'lines' | 'heavy' | 'none';

/** Said on the console when the boot script is through. */
export const bootedLine = 'umlsnap test guest is up';

const lines = '(i=0; while :; do i=$((i + 1)); echo "line $i" >> /data/log; nap 0.05; done) &';
const writers: Record<Writer, string[]> = {
  none: [],
  lines: [lines],
  heavy: [
    lines,
    '(i=0; while :; do i=$((i + 1)); [ $((i % 8)) = 0 ] && sync=,fsync || sync=',
    'dd if=/dev/urandom of=/data/heavy bs=64k count=16 seek=$((i * 7 % 32 * 16)) conv=notrunc$sync 2>/dev/null; nap 0.02; done) &',
  ],
};

/**
 * `nap SECONDS` is a `sleep` by the shell itself: a process that is started twenty times a second takes a sixth of one of the host's cores.
 * The scripts are busybox's, whatever /bin/sh is: dash has no `read -t`.
 */
const shell = ['#!/bin/busybox sh', 'nap() { read -t "$1" _ <> /tmp/never || :; }'];

/** A command comes as a line `ID LINES` and its lines; what it prints is followed by a line of an 0x1e, `ID EXITCODE`. */
const agentScript = [
  ...shell,
  String.raw`exec < /dev/tty1 > /dev/tty1
stty raw -echo
echo ready
while read -r id lines; do
  command=
  while [ "$lines" -gt 0 ]; do
    IFS= read -r line
    command="$command$line
"
    lines=$((lines - 1))
  done
  (eval "$command") 2>&1 < /dev/null
  printf '\036%s %s\n' "$id" "$?"
done
sleep 5`,
];

function bootScript(options: RootfsOptions): string[] {
  return [
    ...shell,
    'mount -t proc proc /proc',
    'mount -t sysfs sysfs /sys',
    'mount -t tmpfs tmpfs /tmp',
    'mkfifo /tmp/never',
    'mount -o remount,rw /',
    ...(options.rc ?? []),
    ...writers[options.writer ?? 'lines'],
    `echo '${bootedLine}' > /dev/console`,
  ];
}

/**
 * Makes `dir/root.img`, an ext4 image with a busybox in it that boots, runs the writer and obeys `guest.sh`. Needs no
 * root. Images of the same options are built once per test run.
 */
export async function buildRootfs(dir: string, options: RootfsOptions = {}): Promise<string> {
  const image = join(dir, 'root.img');
  const { sizeMiB, fillMiB, agent } = options;
  const agentText = agent && (await readFile(agentSource, 'utf8'));
  const built = [sizeMiB, fillMiB, agent, bootScript(options), agentScript, agentText];
  const key = createHash('sha256').update(JSON.stringify(built)).digest('hex').slice(0, 16);
  const cached = join(await testCacheDir(), `${key}.img`);
  if (!existsSync(cached)) await buildInto(cached, options);
  await runTool('cp', ['--sparse=always', '--reflink=auto', cached, image], 5 * 60_000);
  return image;
}

/** Makes an ext4 image, empty or with the contents of a directory. */
export async function makeExt4Image(image: string, sizeMiB: number, contents?: string): Promise<void> {
  await writeFile(image, '', { flag: 'wx' });
  const from = contents === undefined ? [] : ['-d', contents];
  await runTool('mke2fs', ['-q', '-F', '-t', 'ext4', ...from, image, `${sizeMiB}M`], 5 * 60_000);
}

async function buildInto(cached: string, options: RootfsOptions): Promise<void> {
  const incoming = `${cached}.${process.pid}`;
  const tree = `${incoming}.tree`;
  try {
    await layOutTree(tree, options);
    const { fillMiB = 0, writer, sizeMiB = fillMiB + (writer === 'heavy' ? 80 : 40) } = options;
    await makeExt4Image(incoming, sizeMiB, tree);
    await rename(incoming, cached);
  } finally {
    await rm(tree, { recursive: true, force: true });
    await rm(incoming, { force: true });
  }
}

/** With the directory of the tree, the source of the agent, whom the agent runs by, and the MiB of filler. */
const layOut = `
mkdir "$1" && cd "$1"
mkdir bin sbin etc proc sys dev tmp data mnt root usr usr/sbin
cp /bin/busybox bin/busybox
# busybox lists itself among its applets: a link of that name would be a link to itself in place of the program.
for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "bin/$applet"; done
ln -s ../bin/busybox sbin/init
ln -s /proc/mounts etc/mtab
if [ -n "$3" ]; then cp "$2" usr/sbin/umlsnap-agent; chmod 755 usr/sbin/umlsnap-agent; fi
if [ "$3" = dash ]; then
  for library in $(ldd /bin/dash | grep -o '/[^ ]*'); do
    mkdir -p "$(dirname ".$library")"
    cp "$library" ".$library"
  done
  cp --remove-destination /bin/dash bin/sh
fi
if [ "$4" -gt 0 ]; then head -c "$4M" /dev/urandom > data/filler; fi
`;

async function layOutTree(tree: string, options: RootfsOptions): Promise<void> {
  const { agent = '', fillMiB } = options;
  const given = [tree, agentSource, agent, String(fillMiB ?? 0)];
  await runTool('sh', ['-euc', layOut, 'sh', ...given], 5 * 60_000);
  const agentLine = agent ? '::respawn:/usr/sbin/umlsnap-agent\n' : '';
  await writeFile(join(tree, 'etc/inittab'), `::sysinit:/etc/rc\n::respawn:/etc/agent\n${agentLine}`);
  const scripts = { rc: bootScript(options), agent: agentScript };
  for (const [name, lines] of Object.entries(scripts)) {
    await writeFile(join(tree, 'etc', name), `${lines.join('\n')}\n`, { mode: 0o755 });
  }
}
