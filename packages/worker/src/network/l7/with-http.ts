import type { TaskEndpoint } from '@swarmctl/shared/model';
import type { IngressEntry } from '@swarmctl/shared/wire';
import type { Ingress, MeshState } from '../types.ts';
import type { HttpIngress } from './ingress.ts';

// A node's ingress with the ports of HTTP beside those whose connections are passed on as they are.

export class WithHttp implements Ingress {
  readonly kind: Ingress['kind'];
  readonly #plain: Ingress;
  readonly #http: Pick<HttpIngress, 'apply' | 'problems' | 'close'>;

  constructor(plain: Ingress, http: Pick<HttpIngress, 'apply' | 'problems' | 'close'>) {
    this.kind = plain.kind;
    this.#plain = plain;
    this.#http = http;
  }

  async apply(
    entries: ReadonlyMap<string, IngressEntry>,
    mesh?: MeshState,
    own?: readonly TaskEndpoint[],
  ): Promise<void> {
    const http = [...entries.values()].filter((entry) => entry.http);
    const plain = http.length === 0 ? entries : new Map([...entries].filter(([, entry]) => !entry.http));
    await Promise.all([this.#plain.apply(plain, mesh, own), this.#http.apply(http)]);
  }

  problems(): ReadonlyMap<string, string> {
    return new Map([...this.#plain.problems(), ...this.#http.problems()]);
  }

  async close(options?: { readonly keep?: boolean }): Promise<void> {
    await Promise.all([this.#plain.close(options), this.#http.close(options)]);
  }
}
