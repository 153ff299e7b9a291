/**
 * The real server for a test file: the binary that `TIDINGS_BIN` names, on a free port of this machine, with a data
 * folder of its own. It can be killed as a power cut would, and started again where it was.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ClientFrame, ServerFrame } from '../src/sdk';

export const BINARY = process.env.TIDINGS_BIN || '../target/debug/tidings';
/** Tests fill conversations faster than people do. */
const SETTINGS = { TIDINGS_RATES_SENDS_PER_S: '1000000', TIDINGS_RATES_SENDS_BURST: '1000000' };
const FRAMES_A_CALL = 100;
const IMPORTED_A_CALL = 1_000;

export class Site {
  readonly #folder = mkdtempSync(join(tmpdir(), 'tidings-e2e-'));
  readonly #tokens = new Map<string, string>();
  #process: ChildProcess | null = null;
  url = '';

  private constructor(private readonly settings: Record<string, string>) {}

  /** `settings`: as environment variables. */
  static async start(settings: Record<string, string> = {}): Promise<Site> {
    const site = new Site(settings);
    await site.#serve('127.0.0.1:0');
    return site;
  }

  async #serve(listen: string): Promise<void> {
    const child = spawn(BINARY, ['serve', '--listen', listen, '--data', this.#folder], {
      env: { ...process.env, ...SETTINGS, ...this.settings },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    let log = '';
    child.stderr?.on('data', text => {
      log = (log + text).slice(-4_000);
    });
    this.url = await new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', code => reject(new Error(`the server ended with ${code}: ${log}`)));
      if (!child.stdout) return;
      createInterface(child.stdout).on('line', line => {
        const address = /^listening on (\S+)$/.exec(line)?.[1];
        if (address) resolve(address);
      });
    });
    child.removeAllListeners('exit');
  }

  /** At once, with nothing said to anybody. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** At the same address, with the same data. */
  async restart(): Promise<void> {
    this.#tokens.clear();
    await this.#serve(new URL(this.url).host);
  }

  async close(): Promise<void> {
    await this.#end('SIGTERM');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise(resolve => child.once('exit', resolve));
    child.kill(signal);
    await ended;
  }

  /** Makes the user known, if need be. */
  async know(user: string): Promise<void> {
    await this.#token(user);
  }

  /** Says `frames` as `user`, in order, and gives the answers; a refusal fails the test. */
  async say(user: string, frames: ClientFrame[]): Promise<ServerFrame[]> {
    const all: ServerFrame[] = [];
    for (let at = 0; at < frames.length; at += FRAMES_A_CALL) {
      const numbered = frames.slice(at, at + FRAMES_A_CALL).map((frame, index) => ({ ...frame, id: at + index }));
      const { answers } = await this.#post<{ answers: ServerFrame[] }>(user, '/v1/frames', { frames: numbered });
      all.push(...answers);
    }
    const refused = all.find(answer => answer.type === 'error');
    if (refused) throw new Error(`refused: ${JSON.stringify(refused)}`);
    return all;
  }

  /** What operators show. */
  adminToken(): string {
    return readFileSync(join(this.#folder, 'admin.token'), 'utf8').trim();
  }

  /** Puts a long history into a group that `users` are in, as `tidings import` does. */
  async import(name: string, users: string[], messages: { from: string; at: number; text: string }[]): Promise<void> {
    const token = this.adminToken();
    for (let at = 0; at < messages.length; at += IMPORTED_A_CALL) {
      const part = messages.slice(at, at + IMPORTED_A_CALL);
      const response = await fetch(`${this.url}/v1/admin/import`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({
          conversation: { name, owner: users[0] },
          users: users.map(user => ({ user, name: user })),
          messages: part.map((message, index) => ({ client_msg_id: `i-${at + index}`, ...message })),
        }),
      });
      if (!response.ok) throw new Error(`the import answered ${response.status}: ${await response.text()}`);
    }
  }

  async #post<T>(user: string, path: string, body: unknown): Promise<T> {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${await this.#token(user)}` };
    const response = await fetch(this.url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    return (await response.json()) as T;
  }

  async #token(user: string): Promise<string> {
    const known = this.#tokens.get(user);
    if (known) return known;
    const response = await fetch(`${this.url}/v1/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: user, device: 'seeder' }),
    });
    if (!response.ok) throw new Error(`login answered ${response.status}: ${await response.text()}`);
    const { token } = (await response.json()) as { token: string };
    this.#tokens.set(user, token);
    return token;
  }
}
