import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { VaultSealer } from './sealer.ts';
import { Vault } from './vault.ts';

const openSealer = (dataDir: string) => new VaultSealer(new Vault(dataDir));
const unlockKey = `SWMKEY-1-${'A'.repeat(43)}`;

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
    const vault = new Vault(folder);
    const [sealer, other] = [new VaultSealer(vault), new VaultSealer(vault)];
    const old = sealer.seal(plain);
    const before = sealer.keyId;
    vault.lockWith(unlockKey, 1);
    sealer.rekey();
    expect(sealer.keyId).not.toBe(before);
    const after = sealer.seal(plain);
    for (const sealed of [old, after]) expect(Buffer.from(sealer.open(sealed))).toEqual(plain);
    expect(() => other.open(after)).toThrow('which is not there');
    vault.lockWith(undefined, 2);
    for (const sealed of [old, after]) expect(Buffer.from(openSealer(folder).open(sealed))).toEqual(plain);
  });

  test('a damaged key file is refused, not replaced', () => {
    openSealer(folder);
    writeFileSync(join(folder, 'raft-key.json'), '{}');
    expect(() => openSealer(folder)).toThrow('cannot be read');
    expect(readFileSync(join(folder, 'raft-key.json'), 'utf8')).toBe('{}');
  });
});
