import type { Clock } from '@swarmctl/shared/kit';
import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import type { PathMtus } from '../path-mtu.ts';
import type { Probe } from '../path-mtu-search.ts';
import { NamedTimers } from '../timers.ts';
import { Echo, isThere } from './echo.ts';
import { canonical } from './look.ts';
import { addressesOf, addressIn, isInPool } from './names.ts';
import { ProbeSocket, probeDatagram } from './probe.ts';
import { EchoTracker } from './tracker.ts';

// The other ends of the mesh: asks each over the mesh all the time whether it is there, asks those that are silent beside it too, and tries how
// large the packets on the ways may be.

export interface MeshPeersModules {
  readonly clock: Clock;
  readonly paths: Pick<PathMtus, 'follow' | 'answered'>;
  /** Where the mesh's packets come from. */
  readonly dataPathAddr: string;
  /** Who answers, or where, is not what it was. */
  readonly changed: () => void;
}

/** The first answers are waited for so long, so that a restart does not lose the ways for a moment. */
const firstAnswersMs = 500;
const thereMs = 1_000;
/** Where nobody listens: `discard`. */
const closedPort = 9;

export class MeshPeers {
  readonly #modules: MeshPeersModules;
  readonly #tracker = new EchoTracker();
  readonly #echo: Echo;
  readonly #timers: NamedTimers;
  /** Peers that miss questions, and whether they answer beside the mesh; undefined: not known yet. */
  readonly #beside = new Map<string, boolean | undefined>();
  #view: MeshView | undefined;
  #peers: readonly MeshPeer[] = [];
  #prober: ProbeSocket | undefined;
  /** While the first answers are waited for. */
  #heard: (() => void) | undefined;
  #isClosed = false;

  constructor(modules: MeshPeersModules) {
    this.#modules = modules;
    this.#timers = new NamedTimers(modules.clock);
    this.#echo = new Echo({
      answered: (id) => this.#answered(id),
      sized: (id, token) => {
        const peer = this.#peer(id);
        if (peer) modules.paths.answered(peer.addr, token);
      },
    });
  }

  /** Asks these from now on. Resolves at once, but `isFirst`: when all have answered, or soon. */
  async follow(view: MeshView, peers: readonly MeshPeer[], isFirst: boolean): Promise<void> {
    this.#view = view;
    this.#peers = peers;
    const up = peers.filter(({ up: isUp }) => isUp);
    const { v4 } = addressesOf(view, view.self);
    await this.#echo.listen(v4, (addr) => isInPool(view.pool4, addr));
    this.#echo.follow(new Map(up.map(({ nodeId, meshId }) => [nodeId, addressIn(view.pool4, meshId)])));
    this.#tracker.follow(
      up.map(({ nodeId }) => nodeId),
      this.#modules.clock.monotonic(),
    );
    this.#prober ??= new ProbeSocket(this.#modules.dataPathAddr);
    this.#modules.paths.follow(
      up.map(({ addr }) => addr),
      (addr, probe) => this.#trySize(addr, probe),
    );
    for (const id of this.#beside.keys()) if (!up.some(({ nodeId }) => nodeId === id)) this.#beside.delete(id);
    this.#look();
    if (isFirst) await this.#firstAnswers(up);
  }

  /** Over the mesh. */
  answers(id: string): boolean {
    return this.#tracker.answers(id) === 'yes';
  }

  /** A new one may not know of this node yet. */
  isSilentForLong(id: string): boolean {
    return this.#tracker.isSilentForLong(id);
  }

  /** Those that do not answer over the mesh, and do, or do not, beside it. */
  silent({ beside }: { readonly beside: boolean }): MeshPeer[] {
    return this.#peers.filter(
      ({ nodeId }) => this.#tracker.answers(nodeId) === 'no' && (this.#beside.get(nodeId) ?? false) === beside,
    );
  }

  /** Nodes that answered once and are silent everywhere now. */
  gone(): Set<string> {
    const silent = this.silent({ beside: false }).map(({ nodeId }) => nodeId);
    return new Set(silent.filter((id) => this.#tracker.fellSilent(id)));
  }

  close(): void {
    this.#isClosed = true;
    this.#timers.close();
    this.#modules.paths.follow([], () => undefined);
    this.#echo.close();
    this.#prober?.close();
    this.#prober = undefined;
  }

  #firstAnswers(peers: readonly MeshPeer[]): Promise<void> {
    const isMissing = () => peers.some(({ nodeId }) => this.#tracker.answers(nodeId) === 'unknown');
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#heard = undefined;
        resolve();
      };
      const timer = this.#modules.clock.after(firstAnswersMs, end);
      this.#heard = () => {
        if (!isMissing()) end();
      };
      this.#heard();
    });
  }

  /** Asks those whose time has come. */
  #look(): void {
    const now = this.#modules.clock.monotonic();
    const { ask, changed } = this.#tracker.look(now);
    for (const id of ask) this.#ask(id);
    if (changed.length > 0) this.#modules.changed();
    const { nextAt } = this.#tracker;
    if (nextAt === undefined) return;
    // Answers that lie there already are read before the second timer, so a busy process does not miss them.
    const again = () => this.#timers.after('look', 1, () => this.#look());
    this.#timers.after('look', Math.max(1, nextAt - now), again);
  }

  #ask(id: string): void {
    this.#echo.ask(id);
    if (this.#tracker.isMissing(id)) {
      void this.#askKernel(id);
      void this.#askBeside(id);
    }
  }

  #trySize(addr: string, { token, size }: Probe): void {
    const view = this.#view;
    const peer = this.#peers.find((one) => canonical(one.addr) === addr);
    const fromPort = peer && this.#echo.portOf(peer.nodeId);
    if (!view || !peer || fromPort === undefined || !this.#prober) return;
    const [from, to] = [addressIn(view.pool4, view.self), addressIn(view.pool4, peer.meshId)];
    const way = { vni: view.vni, self: view.self, peer: peer.meshId, from, to, fromPort };
    this.#prober.send(probeDatagram(way, this.#prober.family, token, size), view.port, addr);
  }

  #answered(id: string): void {
    if (this.#isClosed) return;
    const isNews = this.#tracker.answered(id);
    this.#beside.delete(id);
    this.#heard?.();
    if (isNews && !this.#heard) this.#modules.changed();
  }

  /** A daemon that is too busy to answer has a kernel that is not. */
  async #askKernel(id: string): Promise<void> {
    const peer = this.#peer(id);
    if (!peer || !this.#view) return;
    if (await isThere(addressIn(this.#view.pool4, peer.meshId), closedPort, thereMs)) this.#answered(id);
  }

  /** Is it the mesh that is broken, or is the node gone? */
  async #askBeside(id: string): Promise<void> {
    const peer = this.#peer(id);
    const port = this.#view?.port ?? 0;
    if (!peer) return;
    if (!this.#beside.has(id)) this.#beside.set(id, undefined);
    const is = await isThere(peer.nodeAddr ?? peer.addr, port, thereMs);
    // It may have answered over the mesh meanwhile.
    if (this.#isClosed || !this.#beside.has(id)) return;
    this.#beside.set(id, is);
    this.#modules.changed();
  }

  #peer(id: string): MeshPeer | undefined {
    return this.#peers.find(({ nodeId }) => nodeId === id);
  }
}
