/** What a browser is called in the list of one's devices. */
import { expect, test } from 'vitest';
import { platformOf } from '../src/app/people/platform';

const mozilla = (rest: string) => `Mozilla/5.0 (${rest}`;

test.each([
  [mozilla('X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'), 'Firefox on Linux'],
  [mozilla('Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/138.0.0.0 Safari/537.36'), 'Chrome on Windows'],
  [mozilla('Windows NT 10.0) AppleWebKit/537.36 Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0'), 'Edge on Windows'],
  [mozilla('Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15'), 'Safari on Mac'],
  [mozilla('iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605 Version/18.5 Safari/604.1'), 'Safari on iPhone'],
  [mozilla('iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605 CriOS/138.0 Safari/604.1'), 'Chrome on iPhone'],
  [
    mozilla('Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/138.0.0.0 Mobile Safari/537.36'),
    'Chrome on Android',
  ],
  ['curl/8.5.0', 'Browser'],
])('%s', (userAgent, expected) => expect(platformOf(userAgent)).toBe(expected));
