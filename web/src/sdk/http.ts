/** Calls over HTTP: logs in when needed, reads problem documents. Knows no frames and no state. */
import { Disconnected, Refused } from './errors';

/**
 * Where tokens come from when a login service gives them. Asked at each connect, so it may answer with what it holds;
 * `refused` is a token that the server takes no more, or not much longer: then a new one is wanted.
 */
export type TokenSource = (refused?: string) => string | Promise<string>;

export interface Credentials {
  username?: string;
  /** Without one the server must be in open mode, where the username is enough. */
  token?: TokenSource;
  device: string;
}

export class Http {
  #token: Promise<string> | null = null;

  constructor(
    readonly base: string,
    readonly credentials: Credentials,
    private readonly fetcher: typeof fetch = (...call) => fetch(...call),
  ) {}

  /** A bearer token: of the source, or one that `POST /v1/login` gives for the username. */
  token(refused?: string): Promise<string> {
    if (this.credentials.token) return Promise.resolve(this.credentials.token(refused));
    if (refused !== undefined) this.#token = null;
    this.#token ??= this.#login().then(
      answer => answer.token,
      error => {
        this.#token = null;
        throw error;
      },
    );
    return this.#token;
  }

  /** Logs in by name: who the server takes this to be. */
  async logIn(): Promise<{ username: string; device: string }> {
    const { user, device } = await this.#login();
    return { username: user, device };
  }

  async #login(): Promise<{ token: string; user: string; device: string }> {
    const { username, device } = this.credentials;
    const response = await this.#fetch('/v1/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username, device }),
    });
    if (!response.ok) throw await problem(response);
    return (await response.json()) as { token: string; user: string; device: string };
  }

  /** The raw response, with a token that is good; anything but success is thrown as `Refused`. */
  async open(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await this.#try(path, init, await this.token());
    if (response.ok) return response;
    throw await problem(response);
  }

  /** The token may have died, of age or with a server of old: one new one, then the refusal stands. */
  async #try(path: string, init: RequestInit, token: string, isLast = false): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${token}`);
    // A token of a login service may name no device.
    if (this.credentials.token) headers.set('tidings-device', this.credentials.device);
    const response = await this.#fetch(path, { ...init, headers });
    if (response.status !== 401 || isLast) return response;
    return this.#try(path, init, await this.token(token), true);
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      return await this.fetcher(new URL(path, this.base), init);
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') throw error;
      throw new Disconnected();
    }
  }

  async get<T>(path: string): Promise<T> {
    return (await (await this.open(path)).json()) as T;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    return (await (await this.#say('POST', path, body)).json()) as T;
  }

  async patch<T>(path: string, body: unknown): Promise<T> {
    return (await (await this.#say('PATCH', path, body)).json()) as T;
  }

  async delete(path: string): Promise<void> {
    await this.open(path, { method: 'DELETE' });
  }

  #say(method: string, path: string, body: unknown): Promise<Response> {
    return this.open(path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  }
}

/** RFC 9457. */
async function problem(response: Response): Promise<Refused> {
  const body = (await response.json().catch(() => ({}))) as { code?: string; detail?: string; users?: string[] };
  const retryAfter = Number(response.headers.get('retry-after'));
  return new Refused(
    body.code ?? 'internal',
    body.detail ?? `The server answered ${response.status}.`,
    retryAfter > 0 ? retryAfter * 1000 : null,
    body.users,
  );
}
