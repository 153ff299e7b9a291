/**
 * The pictures of the README, taken of the real page on the real server: `npm run screenshots`. They are looked at by
 * people, so nothing is asserted.
 */
import { test } from 'vitest';
import type { ClientFrame, To } from '../src/sdk';
import { PHONE } from './person';
import type { Site } from './site';
import { openStage } from './stage';

const FOLDER = '../docs/screenshots';

const PEOPLE = {
  ada: 'Ada Lovelace',
  bob: 'Bob Hartmann',
  carol: 'Carol Nyström',
  dan: 'Dan Whitby',
  eve: 'Eve Okafor',
  grace: 'Grace Hopper',
  mira: 'مِيرا الحسن',
};

let count = 0;
const send = (to: To, text: string, more = {}): ClientFrame => ({
  type: 'send',
  to,
  client_msg_id: `s-${count++}`,
  text,
  ...more,
});

async function prepare(site: Site): Promise<void> {
  for (const [user, name] of Object.entries(PEOPLE)) await site.say(user, [{ type: 'profile', name }]);
  const ada = { user: 'ada' };
  await site.say('dan', [send(ada, 'Did you see the new ferry timetable?'), send(ada, 'It starts on Monday.')]);
  await site.say('mira', [send(ada, 'نلتقي غدا الساعة ٩:٣٠ إن شاء الله')]);
  await site.say('grace', [send(ada, 'The charts are in the cabin')]);
  await site.say('ada', [send({ user: 'grace' }, 'Got them, thank you!')]);
  const [races] = await site.say('eve', [
    { type: 'create', client_msg_id: 'races', name: 'Sunday races', members: ['ada', 'dan'], history: 'all' },
  ]);
  if (races?.type === 'created')
    await site.say('eve', [send({ conversation: races.conversation }, 'First start at ten')]);
  const [crew] = await site.say('ada', [
    {
      type: 'create',
      client_msg_id: 'crew',
      name: 'Harbour crew',
      members: ['bob', 'carol', 'eve', 'grace'],
      history: 'all',
    },
  ]);
  if (crew?.type !== 'created') throw new Error('no group');
  const { conversation } = crew;
  const to = { conversation };
  await site.say('bob', [send(to, 'Morning all. The crane inspection is moved to Thursday.'), send(to, 'Same pier.')]);
  await site.say('eve', [send(to, 'Fine by me. Has anybody got the checklist? https://example.org/checklist')]);
  await site.say('ada', [
    send(to, 'I have it here.'),
    send(to, '@bob do we need the second boat as well?', { mentions: ['bob'] }),
  ]);
  await site.say('bob', [send(to, 'Yes please. Two people per boat, so we need four.', { reply_to: 6 })]);
  const react = (emoji: string): ClientFrame => ({
    type: 'react',
    conversation,
    client_msg_id: emoji,
    seq: 7,
    emoji,
    on: true,
  });
  await site.say('eve', [react('👍')]);
  await site.say('carol', [
    react('👍'),
    react('🎉'),
    send(to, 'I can take one seat'),
    send(to, '@ada you too?', { mentions: ['ada'] }),
  ]);
  await site.say('bob', [send(ada, 'Are we still on for lunch?')]);
}

const stage = openStage(prepare);

test('a desktop in the light, a phone in the dark', async () => {
  const others = await Promise.all(['bob', 'carol'].map(user => stage.arrive(user)));
  await Promise.all(others.map(other => other.open('Harbour crew')));
  const desk = await stage.arrive('ada', { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 });
  const phone = await stage.arrive('ada', { ...PHONE, colorScheme: 'dark' });
  await desk.open('Harbour crew');
  await desk.message('you too?').waitFor();
  await desk.write('Count me in. See you at nine!');
  await desk.ticks('Count me in', 'sent');
  await others[0]?.page.locator('#composer').pressSequentially('Great');
  await desk.page.locator('.head-line', { hasText: 'typing' }).waitFor();
  await desk.page.mouse.move(0, 0);
  await desk.page.screenshot({ path: `${FOLDER}/desktop.png` });
  await phone.open('Harbour crew');
  await phone.message('Count me in').waitFor();
  await phone.page.screenshot({ path: `${FOLDER}/phone.png` });
});
