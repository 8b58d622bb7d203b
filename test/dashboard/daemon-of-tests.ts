import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { BrowserContext } from 'playwright-core';
import type { CliResult } from '../support/cli.js';
import type { Scene } from '../support/scene.js';
import { TestDaemon } from '../support/test-daemon.js';

/** Whoever can start commands on a config whose dashboard is on. */
type DaemonScene = Pick<Scene, 'state' | 'start'>;

interface Asked {
  status: number;
  body: string;
  headers: Record<string, string | string[] | undefined>;
}

interface AskOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Over the control socket in place of the port. */
  bySocket?: boolean;
}

export interface Login {
  cookie: string;
  /** Below it are the pages of the session, and to them alone a browser shows its cookie. */
  path: string;
}

/** A daemon with its dashboard, and whoever asks it. */
export class DashboardOfTests {
  private constructor(
    readonly daemon: TestDaemon,
    readonly url: URL,
    private readonly scene: DaemonScene,
  ) {}

  static async start(scene: DaemonScene): Promise<DashboardOfTests> {
    const daemon = await TestDaemon.start(scene);
    const { url } = await daemon.untilLogged(/^dashboard$/);
    return new DashboardOfTests(daemon, new URL(String(url)), scene);
  }

  ask(
    path: string,
    { method = 'GET', headers = {}, body, bySocket = false }: AskOptions = {},
  ): Promise<Asked> {
    const { hostname, port } = this.url;
    const way = bySocket ? { socketPath: join(this.scene.state, 'control.sock') } : { hostname, port };
    return new Promise((resolve, reject) => {
      const asked = request({ ...way, path, method, headers, agent: false }, (response) => {
        const { statusCode: status = 0, headers } = response;
        text(response).then((body) => resolve({ status, body, headers }), reject);
      });
      asked.once('error', reject).end(body);
    });
  }

  /** Presses a button as a form does. */
  press(path: string, fields: Record<string, string>, options: AskOptions = {}): Promise<Asked> {
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = new URLSearchParams(fields).toString();
    return this.ask(path, { ...options, method: 'POST', headers: { ...type, ...options.headers }, body });
  }

  ctl(...words: string[]): Promise<CliResult> {
    return this.scene.start(['ctl', ...words]).exited;
  }

  async loginUrl(): Promise<string> {
    return (await this.ctl('dashboard')).stdout.trim();
  }

  /** A new session, by the token of the file. */
  async logIn(): Promise<Login> {
    const { headers } = await this.press('/login', { token: await this.token() });
    return loginIn(headers);
  }

  async token(): Promise<string> {
    return (await readFile(join(this.scene.state, 'dashboard.token'), 'utf8')).trim();
  }

  /** Has a browser show the cookie of a new session. @returns where its pages are */
  async logInBrowser(context: BrowserContext): Promise<string> {
    const { cookie, path } = await this.logIn();
    const [name = '', value = ''] = cookie.split('=');
    await context.addCookies([{ name, value, domain: this.url.hostname, path, sameSite: 'Strict' }]);
    return this.url.origin + path;
  }
}

/** What an answer to a login says. */
export function loginIn(headers: Asked['headers']): Login {
  const [, cookie = '', path = ''] = /^([^;]+); Path=([^;]+);/.exec(String(headers['set-cookie'])) ?? [];
  return { cookie, path };
}

/** What a page's forms show. */
export function formTokenIn({ body }: Asked): string {
  return /name="form" value="([^"]+)"/.exec(body)?.[1] ?? '';
}
