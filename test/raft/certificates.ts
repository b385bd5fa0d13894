import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Certificates for members that are measured or tortured: one authority, and `member-<id>` for each address.

export interface Pem {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

export interface Certificate {
  readonly files: Pem;
  readonly pem: Pem;
}

export class Authority {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
    this.#key('ca');
    this.#openssl(
      'req',
      '-x509',
      '-new',
      '-key',
      'ca.key',
      '-days',
      '30',
      '-subj',
      '/CN=test authority',
      '-out',
      'ca.crt',
    );
  }

  issue(id: number, ip: string): Certificate {
    const name = `member-${id}`;
    this.#key(name);
    writeFileSync(
      join(this.#dir, `${name}.ext`),
      `subjectAltName=IP:${ip}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n`,
    );
    this.#openssl('req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`);
    const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30', '-extfile', `${name}.ext`];
    this.#openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`);
    const files = { cert: this.#path(`${name}.crt`), key: this.#path(`${name}.key`), ca: this.#path('ca.crt') };
    const read = (path: string) => readFileSync(path, 'utf8');
    return { files, pem: { cert: read(files.cert), key: read(files.key), ca: read(files.ca) } };
  }

  #path(name: string): string {
    return join(this.#dir, name);
  }

  #key(name: string): void {
    this.#openssl('ecparam', '-genkey', '-name', 'prime256v1', '-noout', '-out', `${name}.key`);
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.#dir, stdio: 'pipe' });
  }
}
