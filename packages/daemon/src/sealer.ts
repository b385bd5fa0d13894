import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import type { Sealer } from 'raft-ts';
import { readIfThere, writeFileAtomically } from './files.ts';

// Encrypts the raft log and snapshots of one manager: AES-256-GCM under a data key of its own, since the log holds the CA's key and tokens.

// version 1 | key id 4 | salt 16 | counter 6 | tag 16 | ciphertext
const version = 1;
const headLength = 1 + 4 + 16 + 6;
const tagLength = 16;

interface KeyFile {
  readonly active: string;
  readonly keys: Readonly<Record<string, string>>;
}

const pathOf = (dataDir: string) => join(dataDir, 'raft-key.json');

/** Opens the manager's data keys, made at first. */
export function openSealer(dataDir: string): Sealer {
  const file = readKeys(dataDir) ?? addKey(dataDir, { active: '', keys: {} });
  return new KeyedSealer(file);
}

/** What is sealed from now on has a new key; the old ones still open what they sealed. */
export function rotateSealer(dataDir: string): Sealer {
  return new KeyedSealer(addKey(dataDir, readKeys(dataDir) ?? { active: '', keys: {} }));
}

function addKey(dataDir: string, before: KeyFile): KeyFile {
  const active = randomBytes(4).toString('hex');
  const file = { active, keys: { ...before.keys, [active]: randomBytes(32).toString('base64') } };
  writeFileAtomically(pathOf(dataDir), JSON.stringify(file));
  return file;
}

function readKeys(dataDir: string): KeyFile | undefined {
  const text = readIfThere(pathOf(dataDir));
  if (text === undefined) return undefined;
  try {
    const file = JSON.parse(text) as KeyFile;
    if (!file.keys[file.active]) throw new Error('the active key is missing');
    return file;
  } catch (error) {
    throw new ClusterError('internal', `${pathOf(dataDir)} cannot be read: ${messageOf(error)}`);
  }
}

class KeyedSealer implements Sealer {
  readonly keyId: string;
  readonly #file: KeyFile;
  /**
   * A key of this process's own, derived with a salt that each record carries: its nonces can then be a counter, which no restart repeats.
   */
  readonly #salt = randomBytes(16);
  readonly #key: Buffer;
  readonly #opened = new Map<string, Buffer>();
  #counter = 0;

  constructor(file: KeyFile) {
    this.#file = file;
    this.keyId = file.active;
    this.#key = this.#derived(file.active, this.#salt);
  }

  seal(plain: Uint8Array): Uint8Array {
    const sealed = Buffer.allocUnsafe(headLength + tagLength + plain.length);
    sealed.writeUInt8(version, 0);
    sealed.write(this.keyId, 1, 4, 'hex');
    this.#salt.copy(sealed, 5);
    sealed.writeUIntBE(++this.#counter, 21, 6);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(sealed));
    cipher.setAAD(sealed.subarray(0, headLength));
    cipher.update(plain).copy(sealed, headLength + tagLength);
    cipher.final();
    cipher.getAuthTag().copy(sealed, headLength);
    return sealed;
  }

  open(sealed: Uint8Array): Uint8Array {
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    if (bytes.length < headLength + tagLength || bytes.readUInt8(0) !== version)
      throw new Error('this was not sealed by a manager of this version');
    const key = this.#keyOf(bytes.toString('hex', 1, 5), bytes.subarray(5, 21));
    const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(bytes));
    decipher.setAAD(bytes.subarray(0, headLength));
    decipher.setAuthTag(bytes.subarray(headLength, headLength + tagLength));
    const plain = decipher.update(bytes.subarray(headLength + tagLength));
    decipher.final();
    return plain;
  }

  #keyOf(keyId: string, salt: Buffer): Buffer {
    const name = `${keyId} ${salt.toString('hex')}`;
    let key = this.#opened.get(name);
    if (!key) {
      key = this.#derived(keyId, salt);
      this.#opened.set(name, key);
    }
    return key;
  }

  #derived(keyId: string, salt: Buffer): Buffer {
    const key = this.#file.keys[keyId];
    if (!key) throw new Error(`this was sealed with the key ${keyId}, which is not there`);
    return Buffer.from(hkdfSync('sha256', Buffer.from(key, 'base64'), salt, 'swarmd raft log', 32));
  }
}

/** Twelve bytes, of which the counter fills the last six. */
function nonceOf(sealed: Buffer): Buffer {
  const nonce = Buffer.alloc(12);
  sealed.copy(nonce, 6, 21, 27);
  return nonce;
}
