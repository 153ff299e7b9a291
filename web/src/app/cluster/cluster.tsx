/** The operators' page: the nodes of the fleet as they are now, and how one is taken out. It needs the admin token, no user. */
// biome-ignore-all lint/a11y/noRedundantRoles: on a phone the table is laid out as cards, and would else be none there
import { createSignal, For, onCleanup, Show } from 'solid-js';
import { Refused } from '../../sdk';
import { Http } from '../../sdk/http';
import { Mark } from '../ui/mark';
import { attempt, Toasts, toast } from '../ui/toast';
import { Confirm } from './confirm';
import { type Fleet, type Row, rowsOf, summaryOf } from './fleet';

/** For this tab only, and gone with it. */
const TOKEN = 'tidings.operator';
const ASK_EVERY_MS = 2_000;
const PATH = '/v1/admin/cluster';

export function Cluster() {
  const [token, setToken] = createSignal(sessionStorage.getItem(TOKEN) ?? '');
  const [problem, setProblem] = createSignal('');
  document.title = 'Fleet · Tidings';

  function enter(given: string): void {
    sessionStorage.setItem(TOKEN, given);
    setProblem('');
    setToken(given);
  }
  function leave(why: string): void {
    sessionStorage.removeItem(TOKEN);
    setProblem(why);
    setToken('');
  }
  return (
    <>
      <Show when={token()} keyed fallback={<Ask problem={problem()} onEnter={enter} />}>
        {each => <Nodes token={each} onLeave={leave} />}
      </Show>
      <Toasts />
    </>
  );
}

function Ask(props: { problem: string; onEnter: (token: string) => void }) {
  let field!: HTMLInputElement;
  return (
    <main class="login">
      <form
        class="login-card"
        onSubmit={event => {
          event.preventDefault();
          if (field.value.trim() !== '') props.onEnter(field.value.trim());
        }}
      >
        <Mark class="login-mark" />
        <h1>Fleet</h1>
        <p class="muted">For operators. The token is in admin.token of the data folder, unless you have set one.</p>
        <label for="token">Admin token</label>
        <input
          id="token"
          class="field"
          type="password"
          autocomplete="off"
          spellcheck={false}
          aria-describedby="token-problem"
          aria-invalid={props.problem !== ''}
          ref={input => {
            field = input;
            queueMicrotask(() => input.focus());
          }}
        />
        <p id="token-problem" class="problem" role="alert">
          {props.problem}
        </p>
        <button class="button primary wide" type="submit">
          Show the nodes
        </button>
      </form>
    </main>
  );
}

/** What somebody is about to do. */
interface Intent {
  act: 'drain' | 'remove';
  row: Row;
}

function Nodes(props: { token: string; onLeave: (why: string) => void }) {
  const http = new Http(location.origin, { token: () => props.token, device: 'operator' });
  const [fleet, setFleet] = createSignal<Fleet>();
  const [isLost, setLost] = createSignal(false);
  const [intent, setIntent] = createSignal<Intent | null>(null);
  let isGone = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** One question at a time; none while nobody looks. */
  async function look(): Promise<void> {
    clearTimeout(timer);
    try {
      if (!document.hidden) setFleet(await http.get<Fleet>(PATH));
      setLost(false);
    } catch (error) {
      if (error instanceof Refused && error.code === 'unauthenticated') {
        return props.onLeave('That is not the admin token of this server.');
      }
      setLost(true);
    }
    clearTimeout(timer);
    if (!isGone) timer = setTimeout(look, ASK_EVERY_MS);
  }
  void look();
  const onVisible = () => void (document.hidden || look());
  document.addEventListener('visibilitychange', onVisible);
  onCleanup(() => {
    isGone = true;
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', onVisible);
  });

  async function act({ act, row }: Intent, force: boolean): Promise<void> {
    setIntent(null);
    const asked = http.post<Fleet>(`${PATH}/${act}`, { node: row.id, force });
    if (!(await attempt(asked, `${row.name} is as it was`))) return;
    setFleet(await asked);
    toast(act === 'drain' ? `${row.name} drains.` : `${row.name} is out of the fleet.`);
  }

  return (
    <main class="operators" aria-busy={fleet() === undefined}>
      <header class="operators-head">
        <h1>Fleet</h1>
        <button class="link-button" type="button" onClick={() => props.onLeave('')}>
          Forget the token
        </button>
      </header>
      <Show when={isLost()}>
        <p class="operators-lost" role="alert">
          The server does not answer. What is below is how it was; asking on.
        </p>
      </Show>
      <Show when={fleet()}>
        {known => (
          <>
            <p class="operators-sum" role="status">
              {summaryOf(known())}
            </p>
            <Table rows={rowsOf(known())} hasActs={!known().is_alone} onIntent={setIntent} />
            <p class="muted small-print">
              View {known().view_epoch}. A node that drains hands its shards over, moves its people to others and stops.
              Remove only one that is dead.
            </p>
          </>
        )}
      </Show>
      <Show when={intent()} keyed>
        {meant => (
          <Confirm
            act={meant.act}
            row={meant.row}
            onClose={() => setIntent(null)}
            onConfirm={force => void act(meant, force)}
          />
        )}
      </Show>
    </main>
  );
}

function Table(props: { rows: Row[]; hasActs: boolean; onIntent: (intent: Intent) => void }) {
  // By id, so that a row and the focus on its buttons outlive an answer.
  const ids = () => props.rows.map(row => row.id);
  const find = (id: string) => props.rows.find(row => row.id === id);
  return (
    <table class="nodes" role="table" aria-label="Nodes">
      <thead role="rowgroup">
        <tr role="row">
          <For each={['Node', 'State', 'Shards', 'Last word', ...(props.hasActs ? ['What to do'] : [])]}>
            {head => (
              <th role="columnheader" scope="col">
                {head}
              </th>
            )}
          </For>
        </tr>
      </thead>
      <tbody role="rowgroup">
        <For each={ids()}>{id => <Show when={find(id)}>{row => <NodeRow row={row()} {...props} />}</Show>}</For>
      </tbody>
    </table>
  );
}

function NodeRow(props: { row: Row; hasActs: boolean; onIntent: (intent: Intent) => void }) {
  return (
    <tr role="row" class="node" data-node={props.row.name}>
      <th role="rowheader" scope="row" class="node-name">
        <span dir="auto">{props.row.name}</span>
        <Show when={props.row.note}>
          <span class="role">{props.row.note}</span>
        </Show>
        <span class="muted small-print node-place">{props.row.place}</span>
      </th>
      <td role="cell">
        <span class="node-state" data-tone={props.row.tone}>
          {props.row.state}
        </span>
      </td>
      <td role="cell" class="node-shards">
        {props.row.shards}
        <span class="node-label"> shards</span>
        <svg class="node-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
          <rect class="node-wished" width={props.row.wished} height="8" />
          <rect class="node-hosted" width={props.row.hosted} height="8" />
        </svg>
      </td>
      <td role="cell">
        <span class="node-label">Last word: </span>
        {props.row.quiet}
      </td>
      <Show when={props.hasActs}>
        <td role="cell" class="node-acts">
          <Show when={props.row.canDrain}>
            <button class="button" type="button" onClick={() => props.onIntent({ act: 'drain', row: props.row })}>
              Drain<span class="visually-hidden"> {props.row.name}</span>
            </button>
          </Show>
          <Show when={props.row.canRemove}>
            <button
              class="button danger"
              type="button"
              onClick={() => props.onIntent({ act: 'remove', row: props.row })}
            >
              Remove<span class="visually-hidden"> {props.row.name}</span>
            </button>
          </Show>
        </td>
      </Show>
    </tr>
  );
}
