import { X509Certificate } from 'node:crypto';
import { certify, type View } from '@swarmctl/manager';
import {
  type Clock,
  caDigest,
  createCsr,
  type Identity,
  isClusterError,
  isOfRoot,
  type Logger,
  messageOf,
  peerOf,
  type Random,
  renewalTime,
  splitPem,
  type Timer,
} from '@swarmctl/shared/kit';
import { askManagers } from './join-client.ts';
import type { ManagerList } from './manager-list.ts';
import { writeIdentity } from './state-file.ts';
import type { Vault } from './vault.ts';

// Keeps the node's certificate fresh: renews it in the middle of its life, whenever the role changes, and when another root signs from now on.

export interface IdentityKeeperModules {
  readonly managers: ManagerList;
  readonly vault: Vault;
  /** The state of the manager on this node, if there is one. */
  readonly view: () => View | undefined;
  readonly onChange: (identity: Identity) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const firstRetryMs = 1_000;
const mostRetryMs = 60_000;
/** How long before its end a root is said to be near it. */
const rootNearEndMs = 90 * 24 * 3_600_000;
/** Timers are 32 bits: a longer wait is made of shorter ones. */
const maxWaitMs = 24 * 3_600_000;

export class IdentityKeeper {
  readonly #dataDir: string;
  readonly #modules: IdentityKeeperModules;
  #identity: Identity;
  #timer: Timer | undefined;
  #renewing: Promise<Identity> | undefined;
  #retryMs = firstRetryMs;
  /** The newest roots that were heard of, of the cluster's object of that revision. */
  #roots: { readonly ca: string; readonly revision: number } | undefined;
  readonly #abort = new AbortController();

  constructor(dataDir: string, identity: Identity, modules: IdentityKeeperModules) {
    this.#dataDir = dataDir;
    this.#identity = identity;
    this.#modules = modules;
  }

  get current(): Identity {
    return this.#identity;
  }

  /** Renews in time from now on; at once where another root signs than the one that has signed ours. */
  start(): void {
    const { clock, log, random } = this.#modules;
    const roots = splitPem(this.#identity.ca);
    for (const root of roots) {
      const { validTo } = new X509Certificate(root);
      if (clock.now() > Date.parse(validTo) - rootNearEndMs)
        log.warn({ validTo }, 'the root certificate of the cluster is near its end: rotate it');
    }
    const isOfSigner = !this.#roots || this.#isOfSigner(this.#roots.ca);
    this.#schedule(isOfSigner ? renewalTime(peerOf(this.#identity.certificate), random) : clock.now() + this.#retryMs);
  }

  /**
   * The roots to trust, the last of which signs, as they are in the cluster's object of that revision. Taken at once where our certificate is of the
   * signer; otherwise it is renewed first, which brings the roots along: they are trusted as soon as we are trusted by them.
   */
  follow(ca: string, revision: number): void {
    if (this.#abort.signal.aborted || revision < (this.#roots?.revision ?? 0)) return;
    this.#roots = { ca, revision };
    if (!this.#isOfSigner(ca)) this.#schedule(this.#modules.clock.now());
    else if (ca !== this.#identity.ca) this.#take({ ...this.#identity, ca });
  }

  #isOfSigner(ca: string): boolean {
    const signer = splitPem(ca).at(-1);
    return signer !== undefined && isOfRoot(this.#identity.certificate, signer);
  }

  #take(identity: Identity): void {
    const [leaf = identity.certificate] = splitPem(identity.certificate);
    // What leads to another root is shown while somebody may trust that one alone.
    const certificate = splitPem(identity.ca).length > 1 ? identity.certificate : leaf;
    this.#identity = { ...identity, certificate };
    writeIdentity(this.#dataDir, this.#modules.vault, this.#identity);
    this.#modules.log.info({ roots: splitPem(identity.ca).map(caDigest) }, 'certificate and roots');
    this.#modules.onChange(this.#identity);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#abort.abort(new Error('the node stops'));
  }

  /** A new key and certificate, in the role that the state gives this node. One at a time. */
  renew(): Promise<Identity> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renew(): Promise<Identity> {
    const { csr, key } = await createCsr();
    const { role, certificate, ca, revision } = await this.#certified(csr);
    if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
    const { nodeId, clusterId } = this.#identity;
    // Newer ones may have been heard of while the answer was on its way.
    if (revision >= (this.#roots?.revision ?? 0)) this.#roots = { ca, revision };
    const newest = this.#roots?.ca ?? ca;
    const isOfNewest = splitPem(newest).some((root) => isOfRoot(certificate, root));
    this.#take({ nodeId, clusterId, role, certificate, key, ca: isOfNewest ? newest : ca });
    this.#modules.log.info({ role }, 'certificate renewed');
    this.#retryMs = firstRetryMs;
    this.start();
    return this.#identity;
  }

  async #certified(csr: string) {
    const { clock, view } = this.#modules;
    try {
      return await askManagers(
        { type: 'renew', csr },
        { ...this.#modules, identity: () => this.current },
        this.#abort.signal,
      );
    } catch (error) {
      // Managers whose certificates have all expired could never agree on new ones: each then signs its own.
      const state = view();
      const expired = clock.now() >= peerOf(this.#identity.certificate).notAfter;
      if (!expired || !state || !isClusterError(error, 'unavailable')) throw error;
      return certify(state, this.#identity.nodeId, csr, clock.now());
    }
  }

  #schedule(at: number): void {
    const { clock, log } = this.#modules;
    this.#timer?.cancel();
    if (this.#abort.signal.aborted) return;
    const wait = Math.min(Math.max(0, at - clock.now()), maxWaitMs);
    const act = () => {
      if (clock.now() < at) return this.#schedule(at);
      this.renew().catch((error) => {
        if (this.#abort.signal.aborted) return;
        log.warn({ error: messageOf(error) }, 'cannot renew the certificate');
        this.#schedule(clock.now() + this.#retryMs);
        this.#retryMs = Math.min(this.#retryMs * 2, mostRetryMs);
      });
    };
    this.#timer = clock.after(wait, act, { unref: true });
  }
}
