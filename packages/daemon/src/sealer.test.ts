import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openSealer, rotateSealer } from './sealer.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-seal-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const plain = Buffer.from('the CA key');

describe('the sealer', () => {
  test('opens what it sealed, also after a restart', () => {
    const sealed = openSealer(folder).seal(plain);
    expect(Buffer.from(sealed).includes('CA key')).toBe(false);
    expect(Buffer.from(openSealer(folder).open(sealed))).toEqual(plain);
    expect(Buffer.from(openSealer(folder).open(openSealer(folder).seal(Buffer.alloc(0))))).toHaveLength(0);
    expect(statSync(join(folder, 'raft-key.json')).mode & 0o777).toBe(0o600);
  });

  test('never seals the same twice', () => {
    const [one, other] = [openSealer(folder), openSealer(folder)];
    const sealed = [one.seal(plain), one.seal(plain), other.seal(plain)].map((bytes) =>
      Buffer.from(bytes).toString('hex'),
    );
    expect(new Set(sealed).size).toBe(3);
  });

  test('notices each changed byte', () => {
    const sealer = openSealer(folder);
    const sealed = Buffer.from(sealer.seal(plain));
    for (let i = 0; i < sealed.length; i++) {
      const bad = Buffer.from(sealed);
      bad.writeUInt8(bad.readUInt8(i) ^ 1, i);
      expect(() => sealer.open(bad), `byte ${i}`).toThrow();
    }
    expect(() => sealer.open(sealed.subarray(0, 20))).toThrow('not sealed');
  });

  test('opens with old keys after a rotation', () => {
    const before = openSealer(folder);
    const old = before.seal(plain);
    const after = rotateSealer(folder);
    expect(after.keyId).not.toBe(before.keyId);
    expect(Buffer.from(after.open(old))).toEqual(plain);
    expect(Buffer.from(openSealer(folder).open(after.seal(plain)))).toEqual(plain);
    expect(() => before.open(after.seal(plain))).toThrow('which is not there');
  });

  test('a damaged key file is refused, not replaced', () => {
    openSealer(folder);
    writeFileSync(join(folder, 'raft-key.json'), '{}');
    expect(() => openSealer(folder)).toThrow('cannot be read');
    expect(readFileSync(join(folder, 'raft-key.json'), 'utf8')).toBe('{}');
  });
});
