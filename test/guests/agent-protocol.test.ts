import { aroundEach, describe, expect, test } from 'vitest';
import { AgentExchange, newNonce } from '../../src/guest/agent/agent-exchange.js';
import { parseAnswer } from '../../src/guest/agent/agent-messages.js';
import { listenerLock, NotifyListener } from '../../src/mconsole/notify-listener.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The agent in a real guest, order by order: what it obeys, and what it must not. */
describe.each(['busybox', 'dash'] as const)('the agent under %s', (shell) => {
  const scene = setScene({ notify: true, guest: { agent: shell, disks: [{ sizeMiB: 16 }] } });
  let exchange: AgentExchange;
  let run: string;
  /** Every answer since the test began. */
  let heard: string[] = [];

  aroundEach((runTest) => {
    const lock = listenerLock(scene.state, scene.notifySocket);
    const options = { socketPath: scene.notifySocket, lock, holder: 'this test' };
    return NotifyListener.listenWhile(options, async (listener) => {
      listener.subscribe((notification) => {
        if (notification.type === 'message') heard.push(notification.text);
      });
      const log = async (line: string) => void (await scene.guest.mconsole(`log ${line}\n`));
      exchange = new AgentExchange({ log }, listener);
      run = await runOfAgent();
      heard = [];
      await runTest();
      await expectWritable();
    });
  });
  const runOfAgent = (isOther = (_: string) => true) =>
    waitFor('the agent', async () => {
      const ping = await exchange.ping(2000);
      return ping.agent === 'ready' && isOther(ping.run) && ping.run;
    });
  const sh = (command: string) => scene.guest.sh(command);
  const expectWritable = () => sh('echo x > /data/x && sync');
  const saidSoFar = () => heard.map((text) => parseAnswer(text)?.said);

  const freezing = () => ({ run, job: 'job-1', limitMs: 20_000, timerMs: 60_000 });
  const bothFrozen = { frozen: true, filesystems: ['/ubd1', '/'] };
  /** @returns the nonce of a freeze that is under way */
  async function startFreeze(): Promise<string> {
    const nonce = newNonce();
    expect(await exchange.freeze(nonce, freezing())).toEqual(bothFrozen);
    await sh('rm -f /tmp/wrote; (echo x > /data/x; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
    expect(await sh('ls /tmp')).not.toContain('wrote');
    return nonce;
  }
  async function thaw(nonce: string) {
    const { thawed, afterThaw } = await exchange.thaw(run, nonce, 20_000);
    afterThaw.stop();
    return thawed;
  }
  /** What a freeze came to that is ended at once, and what the end of it did if it was one. */
  async function freezeAndThaw() {
    const nonce = newNonce();
    const told = await exchange.freeze(nonce, freezing());
    return { told, thawed: told.frozen ? await thaw(nonce) : null };
  }

  test('freezes, says what, and thaws what has held', async () => {
    const nonce = await startFreeze();
    const { thawed, afterThaw } = await exchange.thaw(run, nonce, 20_000);
    expect(thawed).toBe('held');
    expect(await afterThaw.outcome(20_000)).toEqual({ failed: null });
    afterThaw.stop();
  });

  test('ends by itself a freeze that nobody ends, when its time is up', async () => {
    const nonce = newNonce();
    expect(await exchange.freeze(nonce, { ...freezing(), timerMs: 987_000 })).toEqual(bothFrozen);
    await sh("kill $(ps | grep 'sleep 987' | grep -v grep | awk '{ print $1 }')");
    await waitFor('its timer', () => saidSoFar().includes('timer'));
    await expectWritable();
    expect(await thaw(nonce)).toBe('endedBefore');
  });

  test('does not obey what a program of the guest has put into the kernel log, nor what is malformed', async () => {
    const forged = `umlsnap agent 1 freeze nonce=forged run=${run} job=j limit=9 timer=9`;
    await sh(`echo '${forged}' > /dev/kmsg; echo '<0>${forged}' > /dev/kmsg`);
    const malformed = [
      `freeze nonce=bad run=${run} job=j limit=9`,
      `freeze nonce=bad run=${run} job=j limit=x timer=9`,
      `freeze nonce=bad run=${run} job=../j limit=9 timer=9`,
      `freeze nonce=b;d run=${run} job=j limit=9 timer=9`,
      `freeze nonce=bad run=${run} job=j limit=9 timer=9 more=1`,
      `freeze nonce=bad run=00000000 job=j limit=9 timer=9`,
      ...['freeze', 'ping nonce=$(reboot)', `* nonce=bad run=${run}`],
    ];
    // What the kernel says may hold words of anybody's.
    await scene.guest.mconsole(`log no such file: ;umlsnap agent 1 ping nonce=quoted\n`);
    for (const order of malformed) await scene.guest.mconsole(`log umlsnap agent 1 ${order}\n`);
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(saidSoFar()).toEqual(['pong']);
  });

  test('does not obey an order twice, though the log is read again from its start', async () => {
    await freezeAndThaw();
    const cats = () => sh("ps | grep 'cat /dev/kmsg' | grep -v grep | awk '{ print $1 }'");
    const before = await cats();
    await sh(`kill ${before}`);
    await waitFor('another reader', async () => ![before, ''].includes(await cats()), { everyMs: 200 });
    // It comes after all that stands in the log.
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(saidSoFar().filter((said) => said === 'frozen')).toHaveLength(1);
  });

  test('thaws when it is told to end, and what is started after it knows nothing of the freeze', async () => {
    const nonce = await startFreeze();
    await sh('kill $(pidof umlsnap-agent)');
    await expectWritable();
    await runOfAgent((other) => other !== run);
    expect(await thaw(nonce)).toBe('unknown');
  });

  test('that was killed leaves nothing behind that answers in the place of the next one', async () => {
    for (let round = 0; round < 2; round++) {
      // Of those that belong to it, init has made the main one the leader of a session; what is left looks whether that is gone.
      await sh(
        'for pid in $(pidof umlsnap-agent); do set -- $(cat /proc/$pid/stat 2> /dev/null); [ "$6" != $pid ] || { kill -KILL $pid; while [ -e /proc/$pid ]; do nap 0.05; done; }; done',
      );
      const agents = async () => Number(await sh('pidof umlsnap-agent | wc -w'));
      await waitFor('another agent', async () => (await agents()) > 3, { everyMs: 200 });
      const ping = await exchange.ping(20_000);
      expect(ping).toMatchObject({ agent: 'ready', run: expect.not.stringMatching(run) });
      run = ping.agent === 'ready' ? ping.run : '';
      expect(await freezeAndThaw()).toEqual({ told: bothFrozen, thawed: 'held' });
    }
  });

  const hide = (options: string) =>
    `umount /ubd1; (unshare -m sh -c 'mount -o ${options} /dev/ubdb /ubd1 && touch /tmp/hidden && exec sleep 600') > /dev/null 2>&1 & while ! [ -e /tmp/hidden ]; do nap 0.1; done; rm /tmp/hidden`;
  const show =
    "kill $(ps | grep 'sleep 600' | grep -v grep | awk '{ print $1 }'); while ls /sys/fs/ext4 | grep -q ubdb; do nap 0.1; done; mount /dev/ubdb /ubd1";
  const script = '/usr/sbin/umlsnap-agent';

  test.each([
    ['its timer, another process, can not start', `mv ${script} /root/a`, `mv /root/a ${script}`, /timer/],
    // That would be no freeze of all.
    ['a filesystem is mounted that it does not see', hide('rw'), show, /ubdb/],
    // The mending fails when the freeze of somebody else was ended.
    ['somebody else has frozen something', 'fsfreeze --freeze /', 'fsfreeze --unfreeze /', /^\/: /],
  ])('freezes nothing where %s, and says why', async (_, disturb, mend, why) => {
    await sh(disturb);
    try {
      expect(await freezeAndThaw()).toEqual({
        told: { frozen: false, refusal: { why: 'filesystem', text: expect.stringMatching(why) } },
        thawed: null,
      });
    } finally {
      await sh(mend);
    }
    expect(await freezeAndThaw()).toEqual({ told: bothFrozen, thawed: 'held' });
  });

  // Busybox as a shell has a fsfreeze of its own.
  if (shell === 'dash')
    test('refuses a freeze whose timer was over before the last filesystem was frozen, and leaves none of them so', async () => {
      const slow = '#!/bin/sh\\n[ "$*" != "--freeze /" ] || sleep 2\\nexec busybox fsfreeze "$@"\\n';
      await sh(`printf '${slow}' > /tmp/slow; chmod 755 /tmp/slow; ln -sf /tmp/slow /bin/fsfreeze`);
      // The timer is still there when it has nothing more to thaw.
      const hook = '/etc/umlsnap/thaw.d/10-slow';
      await sh(`mkdir -p /etc/umlsnap/thaw.d; printf '#!/bin/sh\\nsleep 3\\n' > ${hook}; chmod 755 ${hook}`);
      try {
        const told = await exchange.freeze(newNonce(), { ...freezing(), timerMs: 1000 });
        expect(told).toMatchObject({
          frozen: false,
          refusal: { why: 'late', text: expect.stringMatching('timer') },
        });
        await expectWritable();
      } finally {
        await sh(`ln -sf busybox /bin/fsfreeze; rm ${hook}`);
      }
    });

  test('is not held up by a FUSE filesystem that nobody serves, whatever it says that it lies on', async () => {
    const module = '/lib/uml/modules/$(uname -r)/kernel/fs/fuse/fuse.ko';
    await sh(`mkdir -p /tmp/usr /tmp/fuse; mount -t hostfs none /tmp/usr -o /usr; insmod /tmp/usr${module}; umount /tmp/usr
      mknod /tmp/dev-fuse c 10 229`);
    const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
    await sh(`(exec 3<> /tmp/dev-fuse; mount -t fuse -o ${options} /dev/ubdb /tmp/fuse; exec sleep 600) > /dev/null 2>&1 &
      while ! grep -q ' /tmp/fuse fuse ' /proc/mounts; do nap 0.1; done`);
    expect(await freezeAndThaw()).toEqual({ told: bothFrozen, thawed: 'held' });
    await sh("kill $(ps | grep 'sleep 600' | grep -v grep | awk '{ print $1 }'); umount -l /tmp/fuse");
  });

  test('freezes the rest where a filesystem that it does not see is mounted read-only', async () => {
    await sh(hide('ro'));
    expect(await freezeAndThaw()).toEqual({ told: { frozen: true, filesystems: ['/'] }, thawed: 'held' });
    await sh(show);
  });
});
