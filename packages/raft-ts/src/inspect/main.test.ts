import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRaftNode } from '../host/open.ts';
import type { Sealer, StateMachine } from '../host/types.ts';
import { LogStore } from '../wal/log-store.ts';
import { MemoryFileSystem } from '../wal/memory-file-system.ts';
import { type Finding, inspect } from './inspect.ts';
import { main } from './main.ts';

const plain: Sealer = { keyId: 'none', seal: (bytes) => bytes, open: (bytes) => bytes };
const xor = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xa7);
const closed: Sealer = { keyId: 'xor', seal: xor, open: xor };

const nothing: StateMachine = {
  apply: () => undefined,
  snapshot: () => async function* () {},
  restore: async (_, chunks) => {
    for await (const _chunk of chunks);
  },
};

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'raft-inspect-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A member that was bootstrapped and applied three entries; `inspecting` runs before it stops. */
async function aMember(sealer: Sealer, inspecting = async () => {}): Promise<void> {
  const node = await openRaftNode(
    { id: 7, dir, random: () => 0.5, onFatal: (error) => expect.unreachable(error.message) },
    { stateMachine: nothing, dial: async () => expect.unreachable(), sealer },
    { kind: 'bootstrap', address: 'host' },
  );
  await new Promise<void>((resolve) => {
    const check = () => node.status().role === 'leader' && resolve();
    node.onChange(check);
    check();
  });
  for (const text of ['one secret', 'two', 'three']) await node.propose(Buffer.from(text));
  await node.snapshot();
  await inspecting();
  await node.stop();
}

async function run(...args: string[]): Promise<{ code: number; out: string }> {
  let out = '';
  const code = await main(args, (text) => {
    out += text;
  });
  return { code, out };
}

const zeroFrom = (file: string, from: number) => writeFileSync(file, readFileSync(file).fill(0, from));
const segment = () => join(dir, 'wal', readdirSync(join(dir, 'wal')).find((name) => name.endsWith('.wal')) ?? '');
const snapshot = () => join(dir, 'snap', readdirSync(join(dir, 'snap'))[0] ?? '');

describe('raft-ts inspect', () => {
  test('shows segments, records, entries and snapshots, also of a member that runs, and never what entries carry', async () => {
    await aMember(plain, async () => expect((await run('inspect', dir)).code).toBe(0));
    const { code, out } = await run('inspect', dir, '--entries', '3..4');
    expect(code).toBe(0);
    expect(out).toContain(`${segment()}: 16777216 bytes`);
    expect(out).toContain('member 7');
    expect(out).toMatch(/^ {6}3 term \d normal \d+ bytes$/m);
    expect(out).not.toMatch(/^ {6}2 term/m);
    expect(out).toContain(`${snapshot()}: `);
    expect(out).toMatch(/records; member 7, last entry 5, term 2, vote 7, commit at least 5; nothing damaged\n$/);
    expect(out).not.toContain('secret');
  });

  test('as JSON, one finding a line', async () => {
    await aMember(plain);
    const lines = (await run('inspect', dir, '--json')).out.trim().split('\n');
    const findings = lines.map((line) => JSON.parse(line) as { kind: string });
    expect(findings[0]).toMatchObject({ kind: 'extent', file: join(dir, 'wal.extent'), member: 7, keyId: 'none' });
    expect(findings[1]).toMatchObject({ kind: 'segment', file: segment() });
    expect(findings[2]).toMatchObject({ kind: 'record', offset: 0, type: 'head', sealed: false, member: 7 });
    expect(findings.at(-1)).toMatchObject({ kind: 'snapshot' });
  });

  test('a sealed log shows its records, and with the sealer its entries', async () => {
    await aMember(closed);
    const without = await run('inspect', dir);
    expect(without).toMatchObject({ code: 0, out: expect.stringContaining('sealed: give --sealer') });
    expect(without.out).toContain("sealed with key 'xor'");
    const module = join(dir, 'sealer.mjs');
    writeFileSync(
      module,
      'const x = (bytes) => bytes.map((byte) => byte ^ 0xa7); export default { keyId: "xor", seal: x, open: x };',
    );
    expect((await run('inspect', dir, '--sealer', module)).out).toContain('member 7, last entry 5');
  });

  test.each([
    ['the log', segment],
    ['a snapshot', snapshot],
  ])('damage in %s is named by file and offset', async (_, file) => {
    await aMember(plain);
    const bytes = readFileSync(file());
    bytes[22]! ^= 4;
    writeFileSync(file(), bytes);
    const { code, out } = await run('inspect', dir);
    expect(code).toBe(1);
    expect(out).toMatch(new RegExp(`^DAMAGED ${file()} at offset \\d+: `, 'm'));
    expect(out).toContain('; 1 damaged');
  });

  test.each([
    ['a log that was cut', (file: string) => truncateSync(file, 4096), segment],
    ['a log without its end', (file: string) => zeroFrom(file, 200), segment],
    ['a segment that is gone', rmSync, segment],
    ['an extent that is gone', rmSync, () => join(dir, 'wal.extent')],
    ['a snapshot without its last frame', (file: string) => truncateSync(file, 8), snapshot],
  ])('%s is damage', async (_, damage, file) => {
    await aMember(plain);
    const path = file();
    damage(path);
    const { code, out } = await run('inspect', dir);
    expect(code).toBe(1);
    expect(out).toMatch(new RegExp(`^DAMAGED ${path} at offset \\d+: `, 'm'));
  });

  test('a segment that is removed while it is read is no damage', async () => {
    const fileSystem = new MemoryFileSystem();
    const env = { fileSystem, dir: '/m', sealer: plain, segmentBytes: 1024 };
    const store = await LogStore.create(env, { member: 1, log: 10 }, [], { term: 0, vote: 0, commit: 0 });
    const data = Buffer.alloc(300);
    for (let index = 1; index <= 20; index++) await store.save([{ type: 'normal', term: 1, index, data }]);
    let removing: Promise<void> | undefined;
    fileSystem.fault = (operation, path) => {
      if (operation !== 'open' || !path.endsWith('2.wal') || removing !== undefined) return;
      const confState = { voters: [1], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
      removing = Promise.resolve();
      const compact = async (index: number) => {
        const header = { meta: { index, term: 1, confState }, addresses: new Map(), removed: [] };
        await store.snapshots.write(header, (async function* () {})());
        await store.recordSnapshot(header, 0);
      };
      removing = compact(17).then(() => compact(19));
      throw Object.assign(new Error('gone'), { code: 'ENOENT' });
    };
    const findings: Finding[] = [];
    for await (const finding of inspect('/m', { fileSystem })) findings.push(finding);
    await removing;
    expect(findings.filter(({ kind }) => kind === 'damage')).toEqual([]);
    expect(findings.findLast(({ kind }) => kind === 'record')).toMatchObject({ type: 'batch' });
  });

  test.each([['--help'], ['inspect', '--help'], ['inspect', '/nowhere', '-h']])(
    'help, asked for: %j',
    async (...args) => {
      expect(await run(...args)).toMatchObject({ code: 0, out: expect.stringMatching(/^usage: raft-ts inspect/) });
    },
  );

  test('a summary is the last line', async () => {
    await aMember(plain);
    const { out } = await run('inspect', dir);
    expect(await run('inspect', dir, '--summary')).toEqual({ code: 0, out: `${out.trimEnd().split('\n').at(-1)}\n` });
    truncateSync(segment(), 4096);
    const damaged = await run('inspect', dir, '--summary');
    expect(damaged).toMatchObject({ code: 1, out: expect.stringMatching(/^\d+ records.*; 1 damaged\n$/) });
  });

  test.each([
    ['a segment', () => segment(), 'EISDIR'],
    ['the extent', () => join(dir, 'wal.extent'), 'EISDIR'],
    ['a snapshot', () => snapshot(), 'EISDIR'],
  ])('a folder in place of %s is damage, in one line', async (_, pathOf, code) => {
    await aMember(plain);
    const path = pathOf();
    rmSync(path);
    mkdirSync(path);
    expect(await run('inspect', dir, '--summary')).toEqual({
      code: 1,
      out: expect.stringMatching(new RegExp(`^raft-ts: ${code}: .* '${path}'\n$`)),
    });
  });

  test('a file in place of the log is damage, in one line', async () => {
    writeFileSync(join(dir, 'wal'), '');
    const { code, out } = await run('inspect', dir);
    expect(out).toMatch(new RegExp(`^raft-ts: ENOTDIR: .* '${join(dir, 'wal')}'\n$`));
    expect(code).toBe(1);
  });

  test.each([
    ['is not there', undefined, 'the sealer cannot be loaded from '],
    ['cannot be read', 'export default {', 'the sealer cannot be loaded from '],
    ['is no sealer', 'export const open = 1;', 'the default export of '],
  ])('a sealer that %s', async (_, content, message) => {
    await aMember(plain);
    const module = join(dir, 'sealer.mjs');
    if (content !== undefined) writeFileSync(module, content);
    const { code, out } = await run('inspect', dir, '--sealer', module);
    expect(out).toMatch(new RegExp(`^raft-ts: ${message}${module}[^\n]+\n$`));
    expect(code).toBe(2);
  });

  test.each([
    [[], 'one command, inspect, and one folder'],
    [['inspect'], 'one command, inspect, and one folder'],
    [['inspect', '/nowhere'], 'there is no log in /nowhere'],
    [['inspect', '.', '--loud'], "Unknown option '--loud'"],
  ])('wrong use %j', async (args, message) => {
    expect(await run(...args)).toMatchObject({ code: 2, out: expect.stringContaining(message) });
  });
});
