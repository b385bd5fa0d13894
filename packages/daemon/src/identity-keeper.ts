import { certify, type View } from '@swarmctl/manager';
import {
  type Clock,
  createCsr,
  type Identity,
  isClusterError,
  type Logger,
  messageOf,
  peerOf,
  type Random,
  renewalTime,
  type Timer,
} from '@swarmctl/shared/kit';
import { askManagers } from './join-client.ts';
import type { ManagerList } from './manager-list.ts';
import { writeIdentity } from './state-file.ts';
import type { Vault } from './vault.ts';

// Keeps the node's certificate fresh: renews it in the middle of its life, and whenever the role changes.

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

const retryMs = 60_000;
/** Timers are 32 bits: a longer wait is made of shorter ones. */
const maxWaitMs = 24 * 3_600_000;

export class IdentityKeeper {
  readonly #dataDir: string;
  readonly #modules: IdentityKeeperModules;
  #identity: Identity;
  #timer: Timer | undefined;
  #renewing: Promise<Identity> | undefined;
  readonly #abort = new AbortController();

  constructor(dataDir: string, identity: Identity, modules: IdentityKeeperModules) {
    this.#dataDir = dataDir;
    this.#identity = identity;
    this.#modules = modules;
  }

  get current(): Identity {
    return this.#identity;
  }

  /** Renews in time from now on. */
  start(): void {
    this.#schedule(renewalTime(peerOf(this.#identity.certificate), this.#modules.random));
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
    const { role, certificate, ca } = await this.#certified(csr);
    if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
    const { nodeId, clusterId } = this.#identity;
    this.#identity = { nodeId, clusterId, role, certificate, key, ca };
    writeIdentity(this.#dataDir, this.#modules.vault, this.#identity);
    this.#modules.log.info({ role }, 'certificate renewed');
    this.#modules.onChange(this.#identity);
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
        this.#schedule(clock.now() + retryMs);
      });
    };
    this.#timer = clock.after(wait, act, { unref: true });
  }
}
