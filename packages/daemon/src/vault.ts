import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterError, messageOf } from '@swarmctl/shared/kit';
import { readIfThere, writeFileAtomically } from './files.ts';

// The keys that a manager keeps on its disk: those of its raft log and, while the cluster is locked, that of its certificate too. One file, so that it is
// either the old or the new; in a locked cluster it can be read with the unlock key only, which is nowhere on the disk in the clear.

interface Content {
  /** The key that the raft log is sealed with from now on; id of one of `keys`. */
  readonly active: string;
  /** 32 bytes each, base64. */
  readonly keys: Readonly<Record<string, string>>;
  /** Key and certificate of this node, PEM. */
  readonly identity?: string;
  /** The version of the cluster that said how to lock it. */
  readonly since?: number;
}

interface Sealed {
  readonly locked: 1;
  readonly salt: string;
  readonly nonce: string;
  readonly tag: string;
  readonly data: string;
}

const prefix = 'SWMKEY-1-';
const keyLength = 32;
const pathOf = (dataDir: string) => join(dataDir, 'raft-key.json');

export class Vault {
  readonly #dataDir: string;
  #unlockKey: string | undefined;

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** It is there, and its key is not known. */
  isLocked(): boolean {
    return this.#unlockKey === undefined && isSealed(this.#parsed());
  }

  /** Throws `invalid-argument` for a key that is none or another. */
  unlock(given: string): void {
    const file = this.#parsed();
    if (!isSealed(file)) throw new ClusterError('conflict', 'swarm is not locked');
    if (!isUnlockKey(given)) throw new ClusterError('invalid-argument', `an unlock key looks like ${prefix}…`);
    let content: Content;
    try {
      content = open(file, given);
    } catch {
      throw new ClusterError('invalid-argument', 'invalid key: this is not the unlock key of this node’s cluster');
    }
    this.#unlockKey = given;
    // It stays in the clear when a crash comes between the two writes that lock it.
    if (content.identity !== undefined) rmSync(this.#keyPath, { force: true });
  }

  /**
   * From now on the keys are under this unlock key, or in the clear without one. Does nothing when it is so already, or when `version`, that of the cluster,
   * is older than what was followed last: a manager that starts sees the past again.
   */
  lockWith(unlockKey: string | undefined, version: number): void {
    if (unlockKey === this.#unlockKey) return;
    const before = this.#content() ?? newContent();
    if (version < (before.since ?? 0)) return;
    const content = { ...before, since: version };
    const identity = content.identity ?? readIfThere(this.#keyPath);
    this.#unlockKey = unlockKey;
    if (unlockKey === undefined) {
      if (identity !== undefined) writeFileAtomically(this.#keyPath, identity);
      const { identity: _, ...keys } = content;
      this.#write(keys);
      return;
    }
    // What lay there in the clear is not to open what comes.
    this.#write({ ...withNewKey(content), ...(identity !== undefined && { identity }) });
    rmSync(this.#keyPath, { force: true });
  }

  /** Key and certificate, wherever they are kept now. */
  readIdentity(): string | undefined {
    return this.#content()?.identity ?? readIfThere(this.#keyPath);
  }

  writeIdentity(identity: string): void {
    const content = this.#unlockKey === undefined ? undefined : this.#content();
    if (content) this.#write({ ...content, identity });
    else writeFileAtomically(this.#keyPath, identity);
  }

  /** The keys of the raft log, made at first. */
  logKeys(): Pick<Content, 'active' | 'keys'> {
    const known = this.#content();
    if (known) return known;
    const made = newContent();
    this.#write(made);
    return made;
  }

  /** Forgets the keys of the raft log. The identity stays, in the clear: this node is no manager any more. */
  forget(): void {
    const identity = this.#content()?.identity;
    if (identity !== undefined) writeFileAtomically(this.#keyPath, identity);
    this.wipe();
  }

  wipe(): void {
    rmSync(pathOf(this.#dataDir), { force: true });
    this.#unlockKey = undefined;
  }

  get #keyPath(): string {
    return join(this.#dataDir, 'identity', 'key.pem');
  }

  #content(): Content | undefined {
    const file = this.#parsed();
    if (!isSealed(file)) return file;
    if (this.#unlockKey === undefined) throw new ClusterError('unavailable', 'the keys of this node are locked');
    return this.#checked(() => open(file, this.#unlockKey ?? ''));
  }

  #parsed(): Content | Sealed | undefined {
    const text = readIfThere(pathOf(this.#dataDir));
    if (text === undefined) return undefined;
    return this.#checked(() => parsed(text));
  }

  /** A damaged file is refused, never replaced: without it the log cannot be read. */
  #checked<T extends Content | Sealed>(read: () => T): T {
    try {
      const file = read();
      if (!isSealed(file) && !file.keys[file.active]) throw new Error('the active key is missing');
      return file;
    } catch (error) {
      throw new ClusterError('internal', `${pathOf(this.#dataDir)} cannot be read: ${messageOf(error)}`);
    }
  }

  #write(content: Content): void {
    const file = this.#unlockKey === undefined ? content : seal(content, this.#unlockKey);
    writeFileAtomically(pathOf(this.#dataDir), JSON.stringify(file));
  }
}

export const isUnlockKey = (text: string): boolean => /^SWMKEY-1-[A-Za-z0-9+/]{43}=?$/.test(text);

const isSealed = (file: Content | Sealed | undefined): file is Sealed => file !== undefined && 'locked' in file;

/** The parser's own error quotes what is around the damage, which may be a key. */
function parsed(text: string): Content | Sealed {
  try {
    return JSON.parse(text) as Content | Sealed;
  } catch {
    throw new Error('it is no JSON');
  }
}

const newContent = (): Content => withNewKey({ active: '', keys: {} });

function withNewKey(content: Content): Content {
  const active = randomBytes(4).toString('hex');
  return { ...content, active, keys: { ...content.keys, [active]: randomBytes(keyLength).toString('base64') } };
}

function derived(unlockKey: string, salt: Buffer): Buffer {
  const secret = Buffer.from(unlockKey.slice(prefix.length), 'base64');
  return Buffer.from(hkdfSync('sha256', secret, salt, 'swarmd vault', keyLength));
}

function seal(content: Content, unlockKey: string): Sealed {
  const [salt, nonce] = [randomBytes(16), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', derived(unlockKey, salt), nonce);
  const data = Buffer.concat([cipher.update(JSON.stringify(content), 'utf8'), cipher.final()]);
  const text = (bytes: Buffer) => bytes.toString('base64');
  return { locked: 1, salt: text(salt), nonce: text(nonce), tag: text(cipher.getAuthTag()), data: text(data) };
}

function open(file: Sealed, unlockKey: string): Content {
  const bytes = (text: string) => Buffer.from(text, 'base64');
  const key = derived(unlockKey, bytes(file.salt));
  const decipher = createDecipheriv('aes-256-gcm', key, bytes(file.nonce), { authTagLength: 16 });
  decipher.setAuthTag(bytes(file.tag));
  return JSON.parse(Buffer.concat([decipher.update(bytes(file.data)), decipher.final()]).toString('utf8')) as Content;
}
