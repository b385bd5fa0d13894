import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import type { Sealer } from 'raft-ts';
import type { Vault } from './vault.ts';

// Encrypts the raft log and snapshots of one manager: AES-256-GCM under a data key of its own, since the log holds the CA's key and tokens. What is
// sealed has the vault's active key; its older ones still open what they sealed.

// version 1 | key id 4 | salt 16 | counter 6 | tag 16 | ciphertext
const version = 1;
const headLength = 1 + 4 + 16 + 6;
const tagLength = 16;

export class VaultSealer implements Sealer {
  readonly #vault: Vault;
  #keys: Readonly<Record<string, string>> = {};
  #active = '';
  /**
   * A key of this process's own, derived with a salt that each record carries: its nonces can then be a counter, which no restart repeats.
   */
  readonly #salt = randomBytes(16);
  #key: Buffer = Buffer.alloc(0);
  readonly #opened = new Map<string, Buffer>();
  #counter = 0;

  constructor(vault: Vault) {
    this.#vault = vault;
    this.rekey();
  }

  get keyId(): string {
    return this.#active;
  }

  /** Takes up the vault's keys as they are now. */
  rekey(): void {
    const { active, keys } = this.#vault.logKeys();
    this.#keys = keys;
    if (active === this.#active) return;
    this.#active = active;
    this.#key = this.#derived(active, this.#salt);
  }

  seal(plain: Uint8Array): Uint8Array {
    const sealed = Buffer.allocUnsafe(headLength + tagLength + plain.length);
    sealed.writeUInt8(version, 0);
    sealed.write(this.#active, 1, 4, 'hex');
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
    const key = this.#keys[keyId];
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
