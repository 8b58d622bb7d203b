import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { AgentExchange, newNonce } from '../../src/guest/agent/agent-exchange.js';
import { parseAnswer } from '../../src/guest/agent/agent-messages.js';
import { NotifyListener } from '../../src/mconsole/notify-listener.js';
import { setScene } from '../support/scene.js';
import { waitFor } from '../support/wait-for.js';

/** The agent in a real guest, order by order: what it obeys, and what it must not. */
describe.each(['busybox', 'dash'] as const)('the agent under %s', (shell) => {
  const scene = setScene({ notify: true, guest: { agent: shell, disks: [{ sizeMiB: 16 }] } });
  let stopListening = () => {};
  let listening: Promise<void>;
  let exchange: AgentExchange;
  let run: string;
  /** Every answer since the test began. */
  let heard: string[] = [];

  beforeAll(async () => {
    const listener = await new Promise<NotifyListener>((resolve, reject) => {
      const options = { socketPath: scene.notifySocket, holder: 'this test' };
      listening = NotifyListener.listenWhile(options, async (opened) => {
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
    const log = async (line: string) => void (await scene.guest.mconsole(`log ${line}\n`));
    exchange = new AgentExchange({ log }, listener);
  });
  afterAll(async () => {
    stopListening();
    await listening;
  });
  const sh = (command: string) => scene.guest.sh(command);
  const saidSoFar = () => heard.map((text) => parseAnswer(text)?.said);

  beforeEach(async () => {
    run = await waitFor('the agent', async () => {
      const ping = await exchange.ping(2000);
      return ping.agent === 'ready' && ping.run;
    });
    heard = [];
  });

  const freezing = () => ({ run, job: 'job-1', limitMs: 20_000, timerMs: 60_000 });
  const expectWritable = () => sh('echo x > /data/x && sync');
  async function expectFrozen(): Promise<void> {
    await sh('rm -f /tmp/wrote; (echo x > /data/x; touch /tmp/wrote) > /dev/null 2>&1 & sleep 0.5');
    expect(await sh('ls /tmp')).not.toContain('wrote');
  }
  /** What a freeze came to that is ended at once, and what the end of it did if it was one. */
  async function freezeAndThaw() {
    const nonce = newNonce();
    const told = await exchange.freeze(nonce, freezing());
    return { told, thawed: told.frozen ? await thaw(nonce) : null };
  }
  async function thaw(nonce: string) {
    const { thawed, afterThaw } = await exchange.thaw(run, nonce, 20_000);
    afterThaw.stop();
    return thawed;
  }
  const refusedFor = (text: RegExp) => ({
    told: { frozen: false, refusal: { why: 'filesystem', text: expect.stringMatching(text) } },
  });
  const nextRun = () =>
    waitFor('the next agent', async () => {
      const ping = await exchange.ping(2000);
      return ping.agent === 'ready' && ping.run !== run && ping.run;
    });

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

  test('ends by itself a freeze that nobody ends, when its time is up', async () => {
    const nonce = newNonce();
    expect(await exchange.freeze(nonce, { ...freezing(), timerMs: 1000 })).toMatchObject({ frozen: true });
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
      'freeze',
      'ping nonce=$(reboot)',
      `* nonce=bad run=${run}`,
    ];
    for (const order of malformed) await scene.guest.mconsole(`log umlsnap agent 1 ${order}\n`);
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(saidSoFar()).toEqual(['pong']);
    await expectWritable();
  });

  test('does not obey an order twice, though the log is read again from its start', async () => {
    await freezeAndThaw();
    const cats = () => sh("ps | grep 'cat /dev/kmsg' | grep -v grep | awk '{ print $1 }'");
    const before = await cats();
    await sh(`kill ${before}`);
    await waitFor('another reader', async () => ![before, ''].includes(await cats()), {
      everyMs: 200,
    });
    // It comes after all that stands in the log.
    expect(await exchange.ping(10_000)).toEqual({ agent: 'ready', run });
    expect(saidSoFar().filter((said) => said === 'frozen')).toHaveLength(1);
    await expectWritable();
  });

  test('thaws when it is told to end, and what is started after it knows nothing of the freeze', async () => {
    const nonce = newNonce();
    await exchange.freeze(nonce, freezing());
    await expectFrozen();
    await sh('kill $(pidof umlsnap-agent)');
    await expectWritable();
    await nextRun();
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
      expect(await freezeAndThaw()).toMatchObject({ told: { frozen: true }, thawed: 'held' });
    }
  });

  test('freezes nothing without the timer that would end it, which another process has to become', async () => {
    const script = '/usr/sbin/umlsnap-agent';
    await sh(`mv ${script} ${script}.away`);
    try {
      expect(await freezeAndThaw()).toMatchObject(refusedFor(/timer/));
      await expectWritable();
    } finally {
      await sh(`mv ${script}.away ${script}`);
    }
    expect(await freezeAndThaw()).toMatchObject({ told: { frozen: true } });
    await expectWritable();
  });

  test('freezes nothing where a filesystem is mounted that it does not see, for that could not be called frozen', async () => {
    const mountHidden = (options: string) =>
      sh(
        `umount /ubd1; (unshare -m sh -c 'mount -o ${options} /dev/ubdb /ubd1 && touch /tmp/hidden && exec sleep 600') > /dev/null 2>&1 & while ! [ -e /tmp/hidden ]; do nap 0.1; done; rm /tmp/hidden`,
      );
    const endHidden = async () => {
      await sh("kill $(ps | grep 'sleep 600' | grep -v grep | awk '{ print $1 }')");
      await waitFor('it to be gone', async () => !(await sh('ls /sys/fs/ext4')).includes('ubdb'));
    };
    await mountHidden('rw');
    expect(await freezeAndThaw()).toMatchObject(refusedFor(/ubdb/));
    await expectWritable();
    await endHidden();
    await mountHidden('ro');
    expect((await freezeAndThaw()).told).toEqual({ frozen: true, filesystems: ['/'] });
    await endHidden();
    await sh('mount /dev/ubdb /ubd1');
    expect((await freezeAndThaw()).told).toEqual({ frozen: true, filesystems: ['/ubd1', '/'] });
    await expectWritable();
  });

  test('refuses by name what can not be frozen, and does not end the freeze of somebody else', async () => {
    await sh('fsfreeze --freeze /');
    try {
      expect(await freezeAndThaw()).toMatchObject(refusedFor(/^\/: /));
    } finally {
      // Fails when it is not frozen any more.
      await sh('fsfreeze --unfreeze /');
    }
    await expectWritable();
  });
});
