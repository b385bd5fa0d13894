import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newUnlockKey } from '@swarmctl/shared/kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Vault } from './vault.ts';

let folder: string;
let file: string;
let keyFile: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'swarmd-vault-'));
  file = join(folder, 'raft-key.json');
  keyFile = join(folder, 'identity', 'key.pem');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const identity = '-----BEGIN PRIVATE KEY-----';
const [first, second] = [newUnlockKey(), newUnlockKey()];

/** A vault with an identity and a key for the log, as a restarted daemon opens it. */
function locked(key: string, version = 1): Vault {
  const vault = new Vault(folder);
  vault.writeIdentity(identity);
  vault.lockWith(key, version);
  return new Vault(folder);
}

describe('a locked vault', () => {
  test('has nothing on the disk in the clear, and opens with its key alone', () => {
    const plain = new Vault(folder);
    plain.writeIdentity(identity);
    const before = plain.logKeys();
    plain.lockWith(first, 1);
    expect(existsSync(keyFile)).toBe(false);
    const text = readFileSync(file, 'utf8');
    const after = plain.logKeys();
    for (const secret of [identity, ...Object.values(after.keys), first]) expect(text).not.toContain(secret);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    // The old key was in the clear once: it opens what it sealed, and seals no more.
    expect(after.active).not.toBe(before.active);
    expect(after.keys).toMatchObject(before.keys);

    const vault = new Vault(folder);
    expect(vault.isLocked()).toBe(true);
    expect(() => vault.logKeys()).toThrow('the keys of this node are locked');
    expect(() => vault.unlock(second)).toThrow('invalid key');
    expect(() => vault.unlock('sesame')).toThrow('an unlock key looks like SWMKEY-1-');
    expect(vault.isLocked()).toBe(true);
    vault.unlock(first);
    expect(vault.isLocked()).toBe(false);
    expect(vault.logKeys()).toEqual(after);
    expect(vault.readIdentity()).toBe(identity);
  });

  test('keeps a renewed identity locked', () => {
    const vault = locked(first);
    vault.unlock(first);
    vault.writeIdentity('renewed');
    expect(existsSync(keyFile)).toBe(false);
    expect(vault.readIdentity()).toBe('renewed');
  });

  test('takes away at unlocking what a crash had left in the clear', () => {
    const vault = locked(first);
    mkdirSync(join(folder, 'identity'), { recursive: true });
    writeFileSync(keyFile, identity);
    expect(() => vault.unlock(second)).toThrow('invalid key');
    expect(existsSync(keyFile)).toBe(true);
    vault.unlock(first);
    expect(existsSync(keyFile)).toBe(false);
    expect(vault.readIdentity()).toBe(identity);
  });

  test('follows the key of the cluster, but not back into the past', () => {
    const vault = locked(first, 5);
    vault.unlock(first);
    vault.lockWith(second, 7);
    vault.lockWith(first, 5);
    const restarted = new Vault(folder);
    expect(() => restarted.unlock(first)).toThrow('invalid key');
    restarted.unlock(second);
    restarted.lockWith(undefined, 6);
    expect(new Vault(folder).isLocked()).toBe(true);
    restarted.lockWith(undefined, 8);
    expect(new Vault(folder).isLocked()).toBe(false);
    expect(readFileSync(keyFile, 'utf8')).toBe(identity);
  });

  test('gives the identity back when the log is forgotten, and nothing when all is', () => {
    const vault = locked(first);
    vault.unlock(first);
    vault.forget();
    expect(existsSync(file)).toBe(false);
    expect(new Vault(folder).readIdentity()).toBe(identity);
    locked(first).wipe();
    expect(existsSync(file)).toBe(false);
  });
});

test('a damaged key file is refused, not replaced', () => {
  mkdirSync(folder, { recursive: true });
  for (const text of ['{}', '{"active":"a","keys":{}}', 'nothing']) {
    writeFileSync(file, text);
    expect(() => new Vault(folder).logKeys()).toThrow('cannot be read');
    expect(readFileSync(file, 'utf8')).toBe(text);
  }
});

test('what is said of a damaged key file shows nothing of its keys', () => {
  const { keys } = new Vault(folder).logKeys();
  const [key = ''] = Object.values(keys);
  writeFileSync(file, readFileSync(file, 'utf8').replace(`"${key}"`, key));
  expect(() => new Vault(folder).logKeys()).toThrow(`${file} cannot be read: it is no JSON`);
});

test('a vault that is not locked has nothing to unlock', () => {
  const vault = new Vault(folder);
  vault.logKeys();
  expect(() => vault.unlock(first)).toThrow('swarm is not locked');
});
