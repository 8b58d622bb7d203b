import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AgentExchange, newNonce } from '../../src/guest/agent/agent-exchange.js';
import { parseAnswer } from '../../src/guest/agent/agent-messages.js';
import { NotifyListener } from '../../src/mconsole/notify-listener.js';
import { bootGuest, type RealGuest } from '../support/real-guest.js';
import { makeTempDir, removeTempDir } from '../support/temp-dir.js';
import { waitFor } from '../support/wait-for.js';

/** The agent in a real guest, order by order: what it obeys, and what it must not. */
describe.each(['busybox', 'dash'] as const)('the agent under %s', (shell) => {
  let dir: string;
  let guest: RealGuest;
  let stopListening = () => {};
  let listening: Promise<void>;
  let exchange: AgentExchange;
  let run: string;
  /** Every answer since the test began. */
  let heard: string[] = [];

  beforeAll(async () => {
    dir = await makeTempDir();
    const socketPath = join(dir, 'n');
    const listener = await new Promise<NotifyListener>((resolve, reject) => {
      listening = NotifyListener.listenWhile({ socketPath, holder: 'this test' }, async (opened) => {
        resolve(opened);
        await new Promise<void>((stop) => {
          stopListening = stop;
        });
      });
      listening.catch(reject);
    });
    listener.subscribe((notification) => {
      if (notification.type === 'message') heard.push(notification.text);
    });
    guest = await bootGuest({
      ...{ dir, sizeMiB: 64, writer: 'none', agent: shell, notifySocket: socketPath },
      disks: [{ sizeMiB: 16 }],
    });
    exchange = new AgentExchange(
      { log: async (line) => void (await guest.mconsole(`log ${line}\n`)) },
      listener,
    );
  });
  afterAll(async () => {
    await guest?.kill();
    stopListening();
    await listening;
    await removeTempDir(dir);
  });
  beforeEach(async () => {
    const found = await waitFor('the agent', async () => {
      const ping = await exchange.ping(2000);
      return ping.agent === 'ready' && ping.run;
    });
    run = found;
    heard = [];
  });

  const freezing = () => ({ run, job: 'job-1', limitMs: 20_000, timerMs: 60_000 });
  const expectWritable = () => guest.sh('echo x > /data/x && sync', 30_000);
  async function expectFrozen(): Promise<void> {
    await guest.sh('rm -f /tmp/wrote; (echo x > /data/x; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
    expect(await guest.sh('ls /tmp')).not.toContain('wrote');
  }

  test('freezes, says what, and thaws what has held', async () => {
    const nonce = newNonce();
    expect(await exchange.freeze(nonce, freezing())).toEqual({ frozen: true, filesystems: ['/ubd1', '/'] });
    await expectFrozen();
    const { thawed, afterThaw } = await exchange.thaw(run, nonce, 20_000);
    expect(thawed).toBe('held');
    expect(await afterThaw.outcome(20_000)).toEqual({ failed: null });
    afterThaw.stop();
    await expectWritable();
  });

  test('does not obey what a program of the guest has put into the kernel log, nor what is malformed', async () => {
    const forged = `umlsnap agent 1 freeze nonce=forged run=${run} job=j limit=9 timer=9`;
    await guest.sh(`echo '${forged}' > /dev/kmsg; echo '<0>${forged}' > /dev/kmsg`);
    const malformed = [
      `freeze nonce=bad run=${run} job=j limit=9`,
      `freeze nonce=bad run=${run} job=j limit=x timer=9`,
      `freeze nonce=bad run=${run} job=../j limit=9 timer=9`,
      `freeze nonce=b;d run=${run} job=j limit=9 timer=9`,
      `freeze nonce=bad run=${run} job=j limit=9 timer=9 more=1`,
      `freeze nonce=bad run=00000000 job=j limit=9 timer=9`,
      'freeze',
      'ping nonce=$(reboot)',
      `* nonce=bad run=${run}`,
    ];
    for (const order of malformed) await guest.mconsole(`log umlsnap agent 1 ${order}\n`);
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(heard.map((text) => parseAnswer(text)?.said)).toEqual(['pong']);
    await expectWritable();
  });

  test('does not obey an order twice, though the log is read again from its start', async () => {
    const nonce = newNonce();
    await exchange.freeze(nonce, freezing());
    await exchange.thaw(run, nonce, 20_000);
    const cats = () => guest.sh("ps | grep 'cat /dev/kmsg' | grep -v grep | awk '{ print $1 }'");
    const before = await cats();
    await guest.sh(`kill ${before}`);
    await guest.sh('sleep 2');
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(heard.filter((text) => parseAnswer(text)?.said === 'frozen')).toHaveLength(1);
    await expectWritable();
  });

  test('thaws when it is told to end, and what is started after it knows nothing of the freeze', async () => {
    const nonce = newNonce();
    await exchange.freeze(nonce, freezing());
    await expectFrozen();
    await guest.sh('kill $(pidof umlsnap-agent)');
    await expectWritable();
    await waitFor('the next agent', async () => {
      const ping = await exchange.ping(2000);
      return ping.agent === 'ready' && ping.run !== run;
    });
    const { thawed, afterThaw } = await exchange.thaw(run, nonce, 20_000);
    afterThaw.stop();
    expect(thawed).toBe('unknown');
  });

  test('freezes nothing without the timer that would end it, which another process has to become', async () => {
    const script = '/usr/sbin/umlsnap-agent';
    await guest.sh(`mv ${script} ${script}.away`);
    try {
      expect(await exchange.freeze(newNonce(), freezing())).toMatchObject({
        frozen: false,
        refusal: { why: 'filesystem', text: expect.stringContaining('timer') },
      });
      await expectWritable();
    } finally {
      await guest.sh(`mv ${script}.away ${script}`);
    }
    const nonce = newNonce();
    expect(await exchange.freeze(nonce, freezing())).toMatchObject({ frozen: true });
    const { afterThaw } = await exchange.thaw(run, nonce, 20_000);
    afterThaw.stop();
    await expectWritable();
  });

  test('freezes nothing where a filesystem is mounted that it does not see, for that could not be called frozen', async () => {
    const outcome = async () => {
      const nonce = newNonce();
      const told = await exchange.freeze(nonce, freezing());
      if (told.frozen) (await exchange.thaw(run, nonce, 20_000)).afterThaw.stop();
      return told;
    };
    const mountIn = (options: string) =>
      guest.sh(
        `umount /ubd1; (unshare -m sh -c 'mount -o ${options} /dev/ubdb /ubd1 && touch /tmp/hidden && exec sleep 600') > /dev/null 2>&1 & while ! [ -e /tmp/hidden ]; do sleep 0.1; done; rm /tmp/hidden`,
        30_000,
      );
    const end = "kill $(ps | grep 'sleep 600' | grep -v grep | awk '{ print $1 }')";
    const untilGone = () =>
      waitFor('it to be gone', async () => !(await guest.sh('ls /sys/fs/ext4')).includes('ubdb'));
    await mountIn('rw');
    expect(await outcome()).toMatchObject({
      frozen: false,
      refusal: { why: 'filesystem', text: expect.stringContaining('ubdb') },
    });
    await expectWritable();
    await guest.sh(end);
    await untilGone();
    await mountIn('ro');
    expect(await outcome()).toEqual({ frozen: true, filesystems: ['/'] });
    await guest.sh(end);
    await untilGone();
    await guest.sh('mount /dev/ubdb /ubd1');
    expect(await outcome()).toEqual({ frozen: true, filesystems: ['/ubd1', '/'] });
    await expectWritable();
  });

  test('refuses by name what can not be frozen, and does not end the freeze of somebody else', async () => {
    await guest.sh('fsfreeze --freeze /');
    try {
      const outcome = await exchange.freeze(newNonce(), freezing());
      expect(outcome).toMatchObject({
        frozen: false,
        refusal: { why: 'filesystem', text: expect.stringMatching(/^\/: /) },
      });
    } finally {
      // Fails when it is not frozen any more.
      await guest.sh('fsfreeze --unfreeze /');
    }
    await expectWritable();
  });
});
