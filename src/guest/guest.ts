import type { GuestConfig } from '../config/config.js';
import { isError, UmlsnapError } from '../errors.js';
import { log, proc, queryConfig, sysrq, version } from '../mconsole/commands.js';
import { MconsoleClient } from '../mconsole/mconsole-client.js';
import { printableLine } from '../mconsole/printable.js';
import { countersLacking, type DirtyState, parseDirtyState } from './dirty-state.js';
import { findGuestConsole } from './guest-console.js';

/** How long a request may take while the guest runs; the machine it runs on may be busy. */
const requestTimeoutMs = 5000;

/**
 * A guest of the config that answers on its management console. Everything here may be asked of a stopped guest as
 * well; `stop` and `go` are the guardian's alone. What the guest says in its own words comes back harmless for a terminal.
 */
export class Guest {
  readonly name: string;
  readonly config: GuestConfig;
  readonly #client: MconsoleClient;

  private constructor(config: GuestConfig, client: MconsoleClient) {
    this.name = config.name;
    this.config = config;
    this.#client = client;
  }

  /** @throws NoMconsoleSocket, NotASocket, SocketPathTooLong, SocketNotAllowed */
  static async open(config: GuestConfig): Promise<Guest> {
    try {
      return new Guest(config, await MconsoleClient.open(await findGuestConsole(config)));
    } catch (error) {
      // Who looked for the socket knows it by its path or its umid.
      if (!isError(error, 'NoMconsoleSocket')) throw error;
      throw new UmlsnapError('NoMconsoleSocket', { ...error.facts, guest: config.name }, error);
    }
  }

  /** Whose its console is. */
  get consoleUid(): number {
    return this.#client.guestUid;
  }

  get socketPath(): string {
    return this.#client.socketPath;
  }

  /** @throws SocketReplaced when the path leads to another socket than when the guest was opened */
  async checkSocket(): Promise<void> {
    if (await this.#client.isReplaced())
      throw new UmlsnapError('SocketReplaced', { socketPath: this.socketPath });
  }

  /** `Linux NODE RELEASE VERSION MACHINE`. Answers while stopped too: no proof that the guest runs. */
  async version(timeoutMs: number = requestTimeoutMs): Promise<string> {
    return printableLine(await version(this.#client, { timeoutMs }));
  }

  /** Asks for an emergency sync; what the guest printed about it comes back. */
  async emergencySync(): Promise<string> {
    return printableLine(await sysrq(this.#client, 's', { timeoutMs: requestTimeoutMs }));
  }

  /** Asks for a thaw of every frozen filesystem; what the guest printed about it comes back. Of a stopped guest, after `go`. */
  async emergencyThaw(timeoutMs: number = requestTimeoutMs): Promise<string> {
    return printableLine(await sysrq(this.#client, 'j', { timeoutMs }));
  }

  /** Writes a line to the guest's kernel log. */
  log(line: string, timeoutMs: number): Promise<void> {
    return log(this.#client, line, { timeoutMs });
  }

  /** What the guest says it was booted with. Untrusted. */
  async commandLine(): Promise<string> {
    return printableLine(await proc(this.#client, 'cmdline', { timeoutMs: requestTimeoutMs }));
  }

  /** @throws ReplyMalformed when the guest's counters are not what a Linux guest says */
  async dirtyState(): Promise<DirtyState> {
    const options = { timeoutMs: requestTimeoutMs };
    const [vmstat, diskstats] = await Promise.all([
      proc(this.#client, 'vmstat', options),
      proc(this.#client, 'diskstats', options),
    ]);
    const devices = this.config.disks.map(({ device }) => device);
    const state = parseDirtyState(vmstat, diskstats, devices);
    if (state) return state;
    throw countersLacking(this.socketPath);
  }

  /** CPUs of the guest. One that says nothing of any has one. */
  async cpuCount(): Promise<number> {
    const cpuinfo = await proc(this.#client, 'cpuinfo', { timeoutMs: requestTimeoutMs });
    return Math.max(1, cpuinfo.match(/^processor\s*:/gm)?.length ?? 0);
  }

  /** The guest's kernel.sysrq: 0 off, 1 all, otherwise a mask of bits (sync is 16; uml-facts §2). */
  async sysrqSetting(): Promise<string> {
    return printableLine(await proc(this.#client, 'sys/kernel/sysrq', { timeoutMs: requestTimeoutMs }));
  }

  /** What the guest has behind a device: `path`, `cow,backing`, or nothing. Untrusted. */
  diskOf(device: string): Promise<string> {
    return queryConfig(this.#client, device, { timeoutMs: requestTimeoutMs });
  }

  /** What the guest has set for any device of its own, `''` for nothing. Untrusted. @throws CommandRefused where it has no such device */
  settingOf(device: string, timeoutMs: number): Promise<string> {
    return queryConfig(this.#client, device, { timeoutMs });
  }

  close(): void {
    this.#client.close();
  }
}

/** Runs `use` with the guest's console open. */
export async function withGuest<T>(config: GuestConfig, use: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await Guest.open(config);
  try {
    return await use(guest);
  } finally {
    guest.close();
  }
}
