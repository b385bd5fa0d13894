import { createHash } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkCertificate } from '@swarmctl/shared/kit';

// The certificates of ports of HTTP as files for HAProxy, chain and key in one, by the names of the secrets that hold them. Only what is good replaces
// one that is there.

/** A secret's content by its name; undefined: it is not here, or not yet. */
export interface CertificateSource {
  get(name: string): Uint8Array | undefined;
  onChange(listener: () => void): () => void;
}

export interface CertificateFile {
  /** In the folder. */
  readonly name: string;
  /** Of its content. */
  readonly digest: string;
}

/** What became of one. `file`: there is one to serve with, if perhaps an earlier one; `problem`: why it is not the one that was asked for. */
export interface WrittenCertificate {
  readonly file?: CertificateFile;
  readonly problem?: string;
}

export class CertificateFiles {
  readonly #folder: string;
  readonly #source: CertificateSource;
  readonly #takes: (name: string) => Promise<boolean>;

  /** `takes`: HAProxy can use the file of that name. */
  constructor(folder: string, source: CertificateSource, takes: (name: string) => Promise<boolean>) {
    this.#folder = folder;
    this.#source = source;
    this.#takes = takes;
  }

  /** That of these secrets. One that was had before stays when its secrets are not here yet, as after a restart. */
  async write(secrets: readonly string[]): Promise<WrittenCertificate> {
    const name = `${digestOf(secrets.join()).slice(0, 16)}.pem`;
    const before = await readFile(join(this.#folder, name), 'utf8').catch(() => undefined);
    const kept = before === undefined ? {} : { file: { name, digest: digestOf(before) } };
    const contents = secrets.map((secret) => this.#source.get(secret));
    const missing = secrets.filter((_, i) => contents[i] === undefined);
    if (missing.length > 0)
      return before === undefined ? { problem: `secret ${missing.join(', ')} is not here yet` } : kept;
    const unusable = (why: string) => ({
      ...kept,
      problem: `the certificate of secret ${secrets.join(', ')} cannot be used: ${why}`,
    });
    const checked = checkCertificate(contents.map((one) => Buffer.from(one ?? []).toString('utf8')).join('\n'));
    if ('problem' in checked) return unusable(checked.problem);
    if (checked.pem === before) return kept;
    if (await this.#replace(name, checked.pem)) return { file: { name, digest: digestOf(checked.pem) } };
    return unusable(
      'HAProxy does not take it; its key may be too short, or of a kind that this machine’s OpenSSL lacks',
    );
  }

  /** False: HAProxy refuses it, and in its configuration it would keep all ports from changes. */
  async #replace(name: string, pem: string): Promise<boolean> {
    const path = join(this.#folder, name);
    await writeFile(`${path}.new`, pem, { mode: 0o600 });
    const isTaken = await this.#takes(`${name}.new`);
    if (isTaken) await rename(`${path}.new`, path);
    else await rm(`${path}.new`, { force: true });
    return isTaken;
  }
}

export const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
