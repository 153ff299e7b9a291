/** The reducer: what frames make of the state. */
import { describe, expect, test } from 'vitest';
import { type Entry, type Event, type Item, initialState, reduce, type State } from '../src/sdk';
import type { ClientFrame, ServerFrame } from '../src/sdk/frames';
import { displayName, gaps, itemAt, presenceOf } from '../src/sdk/state/select';

const ITEM: Item = {
  conversation: 'd-1',
  kind: 'direct',
  with: 'bob',
  peer: { delivered_seq: 0, read_seq: 0 },
  last: null,
  last_seq: 0,
  read_seq: 0,
  unread: 0,
  mentions: 0,
  muted: false,
  pinned: false,
  archived: false,
  blocked: false,
};

const frame = (told: ServerFrame, request?: ClientFrame): Event => ({ type: 'frame', frame: told, request, at: 1_000 });
const run = (state: State, ...events: Event[]): State => events.reduce(reduce, state);
const message = (seq: number, text: string, from = 'bob'): Entry => ({ seq, kind: 'message', from, at: seq, text });
const live = (entry: Entry): Event => frame({ type: 'entry', conversation: 'd-1', ...entry });
const page = (entries: Entry[], last_seq: number, request: object = {}): Event =>
  frame(
    { type: 'entries', re: 1, conversation: 'd-1', entries, first_seq: 1, last_seq },
    { type: 'fetch', conversation: 'd-1', ...request },
  );
const changes = (items: Item[], more: object = {}, request?: ClientFrame): Event =>
  frame({ type: 'changes', items, removed: [], sync: 't-1', more: false, full: false, ...more }, request);
const entriesOf = (state: State): readonly Entry[] => state.logs['d-1']?.entries ?? [];

const started = run(initialState('ada'), changes([ITEM]), page([], 0));

describe('live entries', () => {
  test('move preview, unread and log on; an own message reads all before it', () => {
    let state = run(started, live(message(1, 'hi')), live({ ...message(2, 'you?'), mentions: ['ada'] }));
    expect(state.items['d-1']).toMatchObject({ last_seq: 2, unread: 2, mentions: 1, last: { text: 'you?' } });
    state = run(state, live(message(3, 'from my phone', 'ada')));
    expect(state.items['d-1']).toMatchObject({ unread: 0, mentions: 0, read_seq: 3 });
    expect(entriesOf(state).map(entry => entry.seq)).toEqual([1, 2, 3]);
  });

  test('that come twice change nothing', () => {
    const state = run(started, live(message(1, 'hi')));
    expect(run(state, live(message(1, 'hi')))).toEqual(state);
  });

  test('an answer that runs ahead of entries keeps its message in sight until they came', () => {
    const send = { type: 'send' as const, to: { conversation: 'd-1' }, client_msg_id: 'c-1', text: 'mine' };
    const state = run(
      started,
      { type: 'queued', pending: { client_msg_id: 'c-1', frame: send, at: 1 } },
      frame({ type: 'sent', re: 1, conversation: 'd-1', seq: 3, at: 3 }, send),
    );
    expect(state.outbox).toMatchObject([{ placed: { conversation: 'd-1', seq: 3 } }]);
    expect(state.items['d-1']?.last).toMatchObject({ text: 'mine' });
    const mine = { ...message(3, 'mine', 'ada'), client_msg_id: 'c-1' };
    const streamed = run(state, live(message(1, 'one')), live(message(2, 'two')));
    expect(streamed.outbox).toHaveLength(1);
    expect(run(streamed, live(mine)).outbox).toEqual([]);
    expect(entriesOf(run(streamed, live(mine))).map(entry => entry.text)).toEqual(['one', 'two', 'mine']);
    // By a page just as well; and whoever lets the window go has nothing to wait for.
    const paged = run(state, page([message(1, 'one'), message(2, 'two'), mine], 3, { after: 0 }));
    expect(paged.outbox).toEqual([]);
    expect(run(state, { type: 'forgot_log', conversation: 'd-1' }).outbox).toEqual([]);
  });

  test('behind a gap leave the window alone and ask for the range', () => {
    const state = run(started, live(message(1, 'one')), live(message(4, 'four')));
    expect(entriesOf(state)).toHaveLength(1);
    expect(gaps(state)).toEqual({ fill: [{ conversation: 'd-1', after: 1, limit: 200 }], restart: [] });
    const filled = run(
      state,
      page(
        [2, 3, 4].map(seq => message(seq, 'x')),
        4,
        { after: 1 },
      ),
    );
    expect(entriesOf(filled).map(entry => entry.seq)).toEqual([1, 2, 3, 4]);
    expect(gaps(filled).fill).toEqual([]);
  });

  test('of a conversation that is not known ask for a sync', () => {
    expect(run(initialState('ada'), live(message(1, 'hi'))).wants_sync).toBe(true);
  });

  test('void ones take their place and count nowhere', () => {
    const state = run(started, live({ seq: 1, kind: 'void' }));
    expect(state.items['d-1']).toMatchObject({ last_seq: 1, unread: 0, last: null });
  });
});

describe('folding', () => {
  const edit: Entry = { seq: 2, kind: 'edit', from: 'bob', at: 2, target: 1, text: 'hello' };
  const reaction = (seq: number, from: string, on: boolean): Entry => {
    return { seq, kind: 'reaction', from, at: seq, target: 1, emoji: '🎉', on };
  };

  test('edits, reactions and redactions change their target and the preview', () => {
    let state = run(started, live(message(1, 'helo')), live(edit), live(reaction(3, 'ada', true)));
    expect(entriesOf(state)[0]).toMatchObject({ text: 'hello', edited_seq: 2 });
    expect(entriesOf(state)[0]?.reactions).toEqual([{ emoji: '🎉', count: 1, mine: true }]);
    expect(state.items['d-1']?.last?.text).toBe('hello');
    state = run(state, live({ seq: 4, kind: 'redaction', from: 'bob', at: 4, target: 1 }));
    expect(entriesOf(state)[0]).toMatchObject({ redacted: { seq: 4, by: 'bob' } });
    expect(entriesOf(state)[0]?.text).toBeUndefined();
    expect(state.items['d-1']).toMatchObject({ unread: 0, last: { redacted: { seq: 4 } } });
  });

  test('a cached page and the log after it equal a fresh page', () => {
    const log = [message(1, 'a'), reaction(2, 'bob', true), reaction(3, 'eve', true), reaction(4, 'bob', false)];
    const fresh = [{ ...message(1, 'a'), reactions: [{ emoji: '🎉', count: 1, mine: false }] }, ...log.slice(1)];
    const cached = [{ ...message(1, 'a'), reactions: [{ emoji: '🎉', count: 1, mine: false }] }, ...log.slice(1, 2)];
    const start = run(initialState('ada'), changes([{ ...ITEM, last_seq: 2 }]));
    const followed = run(start, page(cached, 2), ...log.slice(2).map(live));
    const read = run(start, page(fresh, 4));
    const reactions = (state: State) => entriesOf(state).map(entry => entry.reactions);
    expect(reactions(followed)).toEqual(reactions(read));
    // What the page holds already is not counted again when the live frame comes late.
    expect(reactions(run(start, page(fresh, 4), live(log[3] as Entry)))).toEqual(reactions(read));
  });
});

describe('answers', () => {
  const send: ClientFrame = { type: 'send', to: { user: 'bob' }, client_msg_id: 'c-1', text: 'hi' };
  const pending = { client_msg_id: 'c-1', frame: send, at: 1 };

  test('a sent message leaves the outbox and stands in the log, also of a conversation it has just made', () => {
    const state = run(
      initialState('ada'),
      { type: 'queued', pending },
      frame({ type: 'sent', re: 1, conversation: 'd-9', seq: 1, at: 5 }, send),
    );
    expect(state.outbox).toEqual([]);
    expect(state.items['d-9']).toMatchObject({ with: 'bob', last: { text: 'hi' }, unread: 0 });
    expect(state.logs['d-9']?.entries).toMatchObject([{ seq: 1, text: 'hi', from: 'ada', client_msg_id: 'c-1' }]);
  });

  test('a full answer drops what it does not name, over its pages; an ordinary one what it removes', () => {
    const other = { ...ITEM, conversation: 'd-2', with: 'eve' };
    const third = { ...ITEM, conversation: 'd-3', with: 'dan' };
    let state = run(started, changes([third]), changes([other], { full: true, more: true }, { type: 'sync' }));
    expect(Object.keys(state.items)).toEqual(['d-1', 'd-3', 'd-2']);
    expect(state.loaded).toBe(false);
    state = run(state, changes([ITEM], { full: true }, { type: 'sync', sync: 't-1' }));
    expect(Object.keys(state.items).sort()).toEqual(['d-1', 'd-2']);
    expect(state.loaded).toBe(true);
    expect(Object.keys(run(state, changes([], { removed: ['d-1'] })).items)).toEqual(['d-2']);
  });

  test('only an answer moves the sync token', () => {
    expect(run(started, changes([], { sync: 't-9' })).sync).toBeNull();
    expect(run(started, changes([], { sync: 't-9' }, { type: 'sync' })).sync).toBe('t-9');
  });

  test('a tail joins the window, or shows the gap before it', () => {
    const held = run(started, live(message(1, 'one')));
    const near = run(held, changes([{ ...ITEM, last_seq: 3, tail: [message(2, 'two'), message(3, 'three')] }]));
    expect(entriesOf(near).map(entry => entry.seq)).toEqual([1, 2, 3]);
    const far = run(held, changes([{ ...ITEM, last_seq: 9, tail: [message(8, 'x'), message(9, 'y')] }]));
    expect(gaps(far).fill).toEqual([{ conversation: 'd-1', after: 1, limit: 200 }]);
  });

  test('an old page in front widens the window, the newest replaces one that is far away', () => {
    const middle = run(started, page([message(50, 'x'), message(51, 'y')], 90, { around: 50 }));
    expect(middle.logs['d-1']?.attached).toBe(false);
    const wider = run(middle, page([message(49, 'w')], 90, { before: 50 }));
    expect(entriesOf(wider).map(entry => entry.seq)).toEqual([49, 50, 51]);
    const newest = run(wider, page([message(90, 'z')], 90));
    expect(entriesOf(newest).map(entry => entry.seq)).toEqual([90]);
    expect(newest.logs['d-1']?.attached).toBe(true);
  });
});

test('receipts only move forward, and typing ends with the message', () => {
  const receipt = (delivered_seq: number, read_seq: number): Event =>
    frame({ type: 'receipt', conversation: 'd-1', user: 'bob', delivered_seq, read_seq });
  let state = run(started, receipt(5, 4), receipt(3, 2));
  expect(state.items['d-1']?.peer).toEqual({ delivered_seq: 5, read_seq: 4 });
  state = run(state, frame({ type: 'typing', conversation: 'd-1', user: 'bob' }));
  expect(Object.keys(state.typing['d-1'] ?? {})).toEqual(['bob']);
  expect(run(state, live(message(1, 'hi'))).typing['d-1']).toEqual({});
});

test.each(['constructor', '__proto__', 'toString'])('a person called %s is a person like any other', user => {
  const entry: Event = frame({ type: 'presence', user, state: 'online', last_seen: null });
  const empty = initialState('ada');
  expect(presenceOf(empty, user)).toBeUndefined();
  expect(displayName(empty, user)).toBe(user);
  const state = run(empty, entry, { type: 'users', users: [{ user, name: 'Somebody', picture: null }] });
  expect(presenceOf(state, user)).toBeUndefined();
  const ready = run(state, { type: 'status', status: { phase: 'ready' } });
  expect(presenceOf(ready, user)?.state).toBe('online');
  expect(displayName(state, user)).toBe('Somebody');
  expect(itemAt(structuredClone(state), { conversation: user })).toBeUndefined();
});
