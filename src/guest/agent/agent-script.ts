import { readFile } from 'node:fs/promises';

/** Where the agent lies in a guest. */
export const agentPath = '/usr/sbin/umlsnap-agent';

/** The agent as it is to lie in a guest: the script beside this file. */
export function readAgentScript(): Promise<string> {
  return readFile(new URL('./umlsnap-agent', import.meta.url), 'utf8');
}

export type InitSystem = 'systemd' | 'openrc' | 'sysv' | 'busybox';

/** How each init has the agent run: the file that it wants, if it wants one, and what is to be done besides. */
export interface InitSetup {
  init: InitSystem;
  title: string;
  file?: { path: string; mode: number; text: string };
  /** By root, in the guest. */
  enable: string;
}

export const initSetups: readonly InitSetup[] = [
  {
    init: 'systemd',
    title: 'systemd',
    file: {
      path: '/etc/systemd/system/umlsnap-agent.service',
      mode: 0o644,
      text: `[Unit]
Description=Freezes filesystems for umlsnap's snapshots
After=local-fs.target
ConditionPathExists=/proc/mconsole

[Service]
ExecStart=${agentPath}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
`,
    },
    enable: 'systemctl enable --now umlsnap-agent',
  },
  {
    init: 'openrc',
    title: 'OpenRC (Alpine, Gentoo)',
    file: {
      path: '/etc/init.d/umlsnap-agent',
      mode: 0o755,
      text: `#!/sbin/openrc-run
description="Freezes filesystems for umlsnap's snapshots"
command=${agentPath}
supervisor=supervise-daemon
depend() {
  need localmount
}
`,
    },
    enable: 'rc-update add umlsnap-agent default && rc-service umlsnap-agent start',
  },
  {
    init: 'sysv',
    title: 'SysV init (/etc/inittab with runlevels)',
    enable: `echo 'us:2345:respawn:${agentPath}' >> /etc/inittab && telinit q`,
  },
  {
    init: 'busybox',
    title: 'busybox init (/etc/inittab without runlevels)',
    enable: `echo '::respawn:${agentPath}' >> /etc/inittab && kill -HUP 1`,
  },
];
