import type { TLSSocket } from 'node:tls';
import type { ManagerHandle, ManagerModules, ManagerOptions, StartManager, View } from '@swarmctl/manager';
import {
  type Address,
  type AuthorityState,
  type Clock,
  dial,
  FrameStream,
  type Identity,
  type Logger,
  type NewId,
  type PeerCertificate,
  PortServer,
  parseAddress,
  type Random,
  type Refusal,
} from '@swarmctl/shared/kit';
import { trustedRoots } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage, Peer, Protocol2377 } from '@swarmctl/shared/wire';
import { ApiDoor } from './api-door.ts';
import { VaultSealer } from './sealer.ts';
import type { Vault } from './vault.ts';

// What a node has while it is a manager: the cluster's port, and behind it the manager that streams are handed to.

export interface ManagerSideModules {
  readonly startManager: StartManager;
  readonly identity: () => Identity;
  readonly vault: Vault;
  /** Takes over an authorised stream of HTTP. */
  readonly serveApi: (socket: TLSSocket) => void;
  readonly onManagers: (peers: readonly Peer[]) => void;
  /** The roots to trust, by the state of this manager. */
  readonly onRoots: (ca: string, revision: number) => void;
  /** The port of the API over TLS, and what clients may call this machine; undefined: none. */
  readonly api: { readonly addr: Address; readonly names: readonly string[] } | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: NewId;
  readonly log: Logger;
}

/** A removed node hears of it over its session before the connection is cut. */
const cutAfterMs = 250;

export class ManagerSide {
  readonly #modules: ManagerSideModules;
  #port: PortServer | undefined;
  #manager: ManagerHandle | undefined;
  #door: ApiDoor | undefined;

  private constructor(modules: ManagerSideModules) {
    this.#modules = modules;
  }

  /** Opens the ports; until `start`, streams are closed again. Rejects with a message that names the address. */
  static async open(listen: Address, modules: ManagerSideModules): Promise<ManagerSide> {
    const side = new ManagerSide(modules);
    const { api, clock, log, serveApi } = modules;
    if (api) {
      const { nodeId } = modules.identity();
      side.#door = await ApiDoor.open(api.addr, {
        nodeId,
        names: api.names,
        serveApi: (socket) => (side.#manager ? serveApi(socket) : socket.destroy()),
        clock,
        log: log.child({ module: 'api-door' }),
      });
    }
    try {
      await side.#listen(listen);
    } catch (error) {
      await side.#door?.close();
      throw error;
    }
    return side;
  }

  async #listen(listen: Address): Promise<void> {
    const modules = this.#modules;
    this.#port = await PortServer.listen(
      { host: listen.host || '0.0.0.0', port: listen.port },
      {
        identity: modules.identity(),
        state: () => this.#authority(),
        accept: (protocol, socket, peer) => this.#accept(protocol, socket, peer),
        farewell: (protocol, socket, peer, refusal) => this.#farewell(protocol, socket, peer, refusal),
        clock: modules.clock,
        log: modules.log.child({ module: 'port' }),
      },
    );
  }

  get manager(): ManagerHandle | undefined {
    return this.#manager;
  }

  async start(options: ManagerOptions): Promise<ManagerHandle> {
    const { startManager, clock, random, newId, log } = this.#modules;
    const dialPeer: ManagerModules['dial'] = (protocol, target, signal) => this.#dial(protocol, target, signal);
    const sealer = new VaultSealer(this.#modules.vault);
    const modules = { dial: dialPeer, sealer, clock, random, newId, log: log.child({ module: 'manager' }) };
    const manager = await startManager(options, modules);
    this.#manager = manager;
    const ended = () => {
      if (this.#manager !== manager) return;
      this.#manager = undefined;
      // Nobody answers on them any more.
      this.#port?.disconnect();
    };
    manager.done.then(ended, ended);
    manager.watch((events, view) => {
      if (events === 'reset') this.#follow(undefined, view);
      else for (const event of events) if (event.table === 'nodes') this.#follow(event.id, view);
      if (events === 'reset' || events.some((event) => event.table === 'cluster')) this.#followCluster(view, sealer);
    });
    this.#follow(undefined, manager.view());
    this.#followCluster(manager.view(), sealer);
    return manager;
  }

  renew(identity: Identity): void {
    this.#port?.renew(identity);
  }

  async stop(options: { readonly transfer: boolean }): Promise<void> {
    await this.#manager?.stop(options);
    this.#manager = undefined;
    await this.#door?.close();
    await this.#port?.close();
    this.#port = undefined;
  }

  #followCluster(view: View, sealer: VaultSealer): void {
    const cluster = view.cluster();
    if (!cluster) return;
    this.#modules.vault.lockWith(cluster.UnlockKey, cluster.Version.Index);
    sealer.rekey();
    this.#modules.onRoots(trustedRoots(cluster.RootCA), cluster.Version.Index);
    void this.#door?.serve(cluster);
  }

  #follow(nodeId: string | undefined, view: View): void {
    const { clock, onManagers } = this.#modules;
    clock.after(cutAfterMs, () => this.#port?.recheck(nodeId), { unref: true });
    onManagers(
      view
        .list('nodes')
        .flatMap((node) => (node.ManagerStatus ? [{ nodeId: node.ID, addr: node.ManagerStatus.Addr }] : [])),
    );
  }

  #authority(): AuthorityState {
    const view = this.#manager?.view();
    return {
      clusterId: this.#modules.identity().clusterId,
      node: (nodeId) => {
        const node = view?.get('nodes', nodeId);
        return node && { role: node.Spec.Role, member: node.ManagerStatus !== undefined };
      },
      behind: !view?.cluster() || this.#manager?.leader() === undefined,
    };
  }

  #accept(protocol: Protocol2377, socket: TLSSocket, peer: PeerCertificate | undefined): void {
    if (!this.#manager) socket.destroy();
    else if (protocol === 'api') this.#modules.serveApi(socket);
    else this.#manager.accept(protocol, socket, peer);
  }

  /** A node that was removed while it was away is told so, if this manager leads and has made sure. */
  #farewell(protocol: Protocol2377, socket: TLSSocket, peer: PeerCertificate, refusal: Refusal): boolean {
    const manager = this.#manager;
    if (protocol !== 'dispatch' || refusal.code !== 'unknown-node' || !manager?.isLeader()) return false;
    const frames = new FrameStream<AgentMessage, ManagerMessage>(socket);
    this.#modules.clock.after(2_000, () => frames.destroy(), { unref: true });
    manager.readIndex().then(
      () => {
        if (!manager.view().get('nodes', peer.nodeId)) frames.send({ type: 'removed', reason: refusal.reason });
        frames.end();
      },
      () => frames.destroy(),
    );
    return true;
  }

  #dial(protocol: Protocol2377, target: { addr: string; nodeId?: string }, signal: AbortSignal): Promise<TLSSocket> {
    const { identity, clock } = this.#modules;
    const { host, port } = parseAddress(target.addr, 'manager address');
    return dial({
      host,
      port,
      protocol,
      identity: identity(),
      // A manager that is being promoted or demoted shows either role: the state, which named it, outranks its certificate.
      expect: target.nodeId ? { nodeId: target.nodeId } : { role: 'manager' },
      clock,
      signal,
    });
  }
}
