import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { statusByCode } from './errors.ts';

test('docs/errors.md lists every code with its status, and no other', () => {
  const text = readFileSync(new URL('../../../../docs/errors.md', import.meta.url), 'utf8');
  const documented: Record<string, number> = {};
  for (const [, codes, status] of text.matchAll(/^\| (`[^|]*`) \| (\d{3}) \|/gm)) {
    for (const [, code] of (codes ?? '').matchAll(/`([a-z-]+)`/g)) documented[code ?? ''] = Number(status);
  }
  expect(documented).toEqual(statusByCode);
});
