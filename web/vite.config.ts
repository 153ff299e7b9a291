import { defineConfig } from 'vite';
import solid from 'vite-plugin-solid';
import { precompress } from './build/precompress';
import { serviceWorker } from './build/service_worker';

// During `npm run dev` the page comes from Vite and the frames from a server beside it.
const SERVER = process.env.TIDINGS_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [solid(), serviceWorker(), precompress({ firstLoadKiB: 70 })],
  server: { proxy: { '/v1': { target: SERVER, ws: true } } },
  build: {
    target: 'es2022',
    // `:dir()` must reach the browser as it is: what stands in for it goes by language, not by the text.
    cssTarget: ['chrome120', 'firefox117', 'safari17.4'],
    // Every script and style is a file of its own: the page's Content-Security-Policy allows nothing inline.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
  },
});
