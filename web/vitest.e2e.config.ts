import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: process.env.SCREENSHOTS ? ['e2e/screenshots.ts'] : ['e2e/**/*.test.ts'],
    // Two files at a time: each has a browser and a server of its own, and the machine may be small.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
