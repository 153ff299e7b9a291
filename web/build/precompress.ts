/**
 * After a build: puts a `.br` and a `.gz` beside every file that shrinks, and fails when what a first visit loads is
 * larger than it may be.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { Plugin } from 'vite';

const COMPRESSIBLE = /\.(html|js|css|svg|json|webmanifest)$/;

export function precompress(limits: { firstLoadKiB: number }): Plugin {
  let folder = '';
  return {
    name: 'precompress',
    apply: 'build',
    configResolved(config) {
      folder = join(config.root, config.build.outDir);
    },
    closeBundle() {
      const sizes = new Map<string, number>();
      for (const path of filesIn(folder).filter(each => COMPRESSIBLE.test(each))) {
        const bytes = readFileSync(path);
        const brotli = brotliCompressSync(bytes, {
          params: {
            [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
            [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
          },
        });
        if (brotli.length < bytes.length) writeFileSync(`${path}.br`, brotli);
        const gzip = gzipSync(bytes, { level: 9 });
        if (gzip.length < bytes.length) writeFileSync(`${path}.gz`, gzip);
        sizes.set(relative(folder, path), brotli.length);
      }
      const first = firstLoad(readFileSync(join(folder, 'index.html'), 'utf8'), folder);
      const total = first.reduce((sum, name) => sum + (sizes.get(name) ?? statSync(join(folder, name)).size), 0);
      const text = `first load: ${(total / 1024).toFixed(1)} KiB compressed (at most ${limits.firstLoadKiB})`;
      if (total > limits.firstLoadKiB * 1024) throw new Error(`${text}: ${first.join(', ')}`);
      console.log(text);
    },
  };
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
}

/** The page and what it names: scripts, preloads, styles, icons, the manifest. */
function firstLoad(html: string, folder: string): string[] {
  const named = [...html.matchAll(/(?:src|href)="\/([^"]+)"/g)].map(match => match[1] ?? '');
  return ['index.html', ...named.filter(name => statSync(join(folder, name), { throwIfNoEntry: false }))];
}
