import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { replay } from './replay.ts';

// The package's own scripts: they must come out letter for letter.

const folder = fileURLToPath(new URL('../../scripts/', import.meta.url));
const scripts = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.txt'));

test('there are scripts of each kind', () => {
  expect(new Set(scripts.map((name) => name.split('/')[0]))).toEqual(new Set(['interaction', 'confchange', 'quorum']));
});

test.each(scripts)('%s', (name) => {
  expect(replay(name, readFileSync(join(folder, name), 'utf8'), 3)).toBeUndefined();
});
