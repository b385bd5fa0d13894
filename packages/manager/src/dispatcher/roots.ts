import { isSameIssuer, tlsInfoOf } from '@swarmctl/shared/kit';
import { type Cluster, signerOf, type TlsInfo, trustedRoots } from '@swarmctl/shared/model';
import type { ManagerMessage } from '@swarmctl/shared/wire';
import type { View } from '../store/types.ts';

// Which session was told which roots. Those that have to renew their certificate for it are told some at a time, so that a large cluster does not ask for
// all of them at once; the others at once.

type Roots = Extract<ManagerMessage, { type: 'roots' }>;

/** Nodes that may be renewing at a time, and how long one holds a place before the next is told. */
export const batchSize = 30;
export const patienceMs = 10_000;

interface Listener {
  readonly nodeId: string;
  send(message: Roots): void;
}

export class RootTeller {
  #roots: { readonly message: Roots; readonly signer: TlsInfo } | undefined;
  #told = new WeakMap<object, string>();
  /** Nodes that were asked to renew, until when they are waited for, monotonic ms. */
  readonly #renewing = new Map<string, number>();

  /** Tells whom it concerns; `sessions` are those that are open. */
  tell(view: View, sessions: Iterable<Listener>, monotonic: number): void {
    const cluster = view.cluster();
    if (!cluster) return;
    const { message, signer } = this.#follow(cluster);
    const holds = (nodeId: string) => isSameIssuer(view.get('nodes', nodeId)?.Description?.TLSInfo, signer);
    for (const [nodeId, until] of this.#renewing) {
      if (until <= monotonic || holds(nodeId)) this.#renewing.delete(nodeId);
    }
    for (const session of sessions) {
      if (this.#told.get(session) === message.ca) continue;
      if (!holds(session.nodeId)) {
        if (this.#renewing.size >= batchSize) continue;
        this.#renewing.set(session.nodeId, monotonic + patienceMs);
      }
      this.#told.set(session, message.ca);
      session.send(message);
    }
  }

  #follow({ RootCA, Version }: Cluster) {
    const ca = trustedRoots(RootCA);
    if (this.#roots?.message.ca !== ca) {
      this.#renewing.clear();
      const signer = tlsInfoOf(signerOf(RootCA).certificate);
      this.#roots = { message: { type: 'roots', ca, revision: Version.Index }, signer };
    }
    return this.#roots;
  }
}
