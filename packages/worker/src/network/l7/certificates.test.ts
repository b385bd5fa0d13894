import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CertificateFiles } from './certificates.ts';
import { FakeCertificates, makeCertificate } from './test-http.ts';

let folder: string;
let source: FakeCertificates;
let isTaken: boolean;
let files: CertificateFiles;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-certificates-'));
  source = new FakeCertificates();
  isTaken = true;
  files = new CertificateFiles(folder, source, async () => isTaken);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const one = makeCertificate('a.example.com');
const other = makeCertificate('a.example.com');

test('a certificate is written once its secrets are here, chain before key', async () => {
  source.set('key', one.key);
  expect(await files.write(['key', 'chain'])).toEqual({ problem: 'secret chain is not here yet' });
  source.set('chain', one.cert);
  const { file, problem } = await files.write(['key', 'chain']);
  expect([problem, readdirSync(folder)]).toEqual([undefined, [file?.name]]);
  expect(readFileSync(join(folder, file?.name ?? ''), 'utf8')).toBe(`${one.cert.trim()}\n${one.key.trim()}\n`);
});

test('what is no good leaves the one before, and says so', async () => {
  source.set('one', one.cert + one.key);
  const { file } = await files.write(['one']);
  source.set('one', one.cert + other.key);
  expect(await files.write(['one'])).toEqual({ file, problem: expect.stringContaining('cannot be used') });
  source.set('one', other.cert + other.key);
  isTaken = false;
  expect(await files.write(['one'])).toEqual({ file, problem: expect.stringContaining('HAProxy does not take it') });
  expect(readdirSync(folder)).toEqual([file?.name]);
  isTaken = true;
  expect((await files.write(['one'])).file).not.toEqual(file);
});

test('one that was here before a restart serves until its secret comes', async () => {
  source.set('one', one.cert + one.key);
  const { file } = await files.write(['one']);
  const later = new CertificateFiles(folder, new FakeCertificates(), async () => true);
  expect(await later.write(['one'])).toEqual({ file });
});
