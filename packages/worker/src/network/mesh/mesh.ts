import { type Clock, ClusterError, type Logger, messageOf, type Timer } from '@swarmctl/shared/kit';
import { type NodeDescription, parseIp } from '@swarmctl/shared/model';
import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { type RunCommand, runCommand } from '../command.ts';
import { PathMtus } from '../path-mtu.ts';
import type { Probe } from '../path-mtu-search.ts';
import type { Mesh, MeshOptions, MeshState } from '../types.ts';
import { Echo, isThere } from './echo.ts';
import { canonical, type Device, hasIpv6, Looker } from './look.ts';
import { addressesOf, addressIn, deviceName, isInPool, isMeshDevice } from './names.ts';
import { type Family, type MeshFound, type MeshWanted, planMesh, planRemoval } from './plan.ts';
import { ProbeSocket, probeDatagram } from './probe.ts';
import { meshState, signatureOf } from './state.ts';
import { doSteps, setSwitches } from './tool.ts';
import { EchoTracker } from './tracker.ts';

// The mesh by the kernel's VXLAN: one thing after the other, it compares what the kernel has with what should be there, at each new view and
// every minute, and asks the peers over it all the time whether they are there.

export interface MeshModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly run?: RunCommand;
  /** Of the ways from this node; the mesh tries them. */
  readonly paths?: PathMtus;
}

export type MeshDescription = NonNullable<NodeDescription['Mesh']>;

const sweepMs = 60_000;
const retryMs = 5_000;
/** The first state waits so long for the peers' first answers, so that a restart does not lose their ways for a moment. */
const firstAnswersMs = 500;
const thereMs = 1_000;
/** Where nobody listens: `discard`. */
const closedPort = 9;
/** IPv4 or IPv6, UDP, VXLAN and Ethernet around each packet. */
const overhead = { 4: 50, 6: 70 };
const leastMtu = 576;
const longestWhy = 1_000;

export class KernelMesh implements Mesh {
  readonly device: string;
  readonly #options: MeshOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #run: RunCommand;
  readonly #looker: Looker;
  readonly #tracker = new EchoTracker();
  readonly #paths: PathMtus;
  readonly #unfollow: () => void;
  readonly #echo: Echo;
  readonly #listeners = new Set<(state: MeshState) => void>();
  readonly #describers = new Set<() => void>();
  /** Peers that miss questions, and whether they answer beside the mesh; undefined: not known yet. */
  readonly #beside = new Map<string, boolean | undefined>();
  readonly #timers = new Map<string, Timer>();

  #view: MeshView | undefined;
  #wanted: MeshWanted | undefined;
  #state: MeshState | undefined;
  #signature = '';
  #described = '';
  #isUp: boolean;
  #failure: string | undefined = 'it is not set up yet';
  /** What an earlier daemon found, until it is tried again. */
  #mtuBefore: number | undefined;
  #prober: ProbeSocket | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(options: MeshOptions, modules: MeshModules, isUp: boolean) {
    this.device = deviceName(options.nodeId);
    this.#options = options;
    this.#log = modules.log;
    this.#clock = modules.clock;
    this.#run = modules.run ?? runCommand;
    this.#looker = new Looker(this.#run);
    this.#echo = new Echo({
      answered: (id) => this.#answered(id),
      sized: (id, token) => {
        const peer = this.#peer(id);
        if (peer) this.#paths.answered(peer.addr, token);
      },
    });
    this.#paths = modules.paths ?? new PathMtus(options.dataPathAddr, modules);
    this.#unfollow = this.#paths.onChange(() => {
      void this.#next(() => this.#reconcile('a way’s MTU')).catch(() => undefined);
    });
    this.#isUp = isUp;
    if (isUp) this.#failure = undefined;
    this.#described = JSON.stringify(this.describe());
  }

  /** What an earlier daemon of this node left goes on until the first `apply`, and so does the word that it is up. */
  static async open(options: MeshOptions, modules: MeshModules): Promise<KernelMesh> {
    const devices = await new Looker(modules.run ?? runCommand).devices();
    const isUp = devices.some(({ name }) => name === deviceName(options.nodeId));
    return new KernelMesh(options, modules, isUp);
  }

  apply(view: MeshView): Promise<MeshState> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#view = view;
    return this.#next(async () => {
      if (this.#view === view || !this.#state) await this.#reconcile('a new view');
      if (!this.#state) throw new ClusterError('unavailable', this.#failure ?? 'there is no mesh');
      return this.#state;
    });
  }

  state(): MeshState | undefined {
    return this.#state;
  }

  onChange(listener: (state: MeshState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** `describe` says something else now. */
  onDescribe(listener: () => void): () => void {
    this.#describers.add(listener);
    return () => this.#describers.delete(listener);
  }

  /** What the node says of its end. */
  describe(): MeshDescription {
    const why = this.#troubles().join('; ').slice(0, longestWhy);
    const { dataPathAddr } = this.#options;
    return { up: this.#isUp, dataPathAddr, ...(why !== '' && { why }) };
  }

  problems(): readonly string[] {
    return [...this.#troubles(), ...this.#silentPeers(false).map((peer) => `${nameOf(peer)} does not answer`)];
  }

  /** Compares and repairs. Runs by itself each minute; never throws. */
  sweep(): Promise<void> {
    return this.#next(() => this.#reconcile('a look around'))
      .catch(() => undefined)
      .finally(() => {
        this.#later('sweep', sweepMs, () => void this.sweep());
      });
  }

  async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    const isFirst = !this.#isClosed;
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    this.#unfollow();
    this.#paths.follow([], () => undefined);
    if (isFirst && !options.keep) this.#work = this.#work.then(() => removeMesh(this.#options, this.#run));
    await this.#work;
    this.#echo.close();
    this.#prober?.close();
    this.#prober = undefined;
  }

  #next<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#work.then(() => {
      if (this.#isClosed) throw closedError();
      return act();
    });
    this.#work = result.catch(() => undefined);
    return result;
  }

  // --- the kernel ---

  async #reconcile(occasion: string): Promise<void> {
    const view = this.#view;
    if (!view) return;
    try {
      const wanted = await this.#makeTrue(view, occasion);
      const isFirst = this.#state === undefined;
      this.#wanted = wanted;
      this.#failure = undefined;
      this.#isUp = true;
      await this.#followPeers(wanted, isFirst);
      if (!this.#timers.has('sweep')) this.#later('sweep', sweepMs, () => void this.sweep());
    } catch (error) {
      const failure = messageOf(error);
      if (this.#failure !== failure) this.#log.warn({ problem: failure }, 'there is no mesh; it is tried again');
      this.#failure = failure;
      this.#isUp = false;
      this.#later('retry', retryMs, () => void this.sweep());
    }
    this.#publish();
  }

  async #makeTrue(view: MeshView, occasion: string): Promise<MeshWanted> {
    const { device } = this;
    const { mark, dataPathAddr } = this.#options;
    const devices = await this.#looker.devices();
    this.#checkMachine(view, devices);
    const wanted = await this.#wants(view, devices);
    const found = await this.#looker.mesh(device, mark, devices);
    const plan = planMesh(wanted, found);
    const steps = plan.device.length + plan.rest.length;
    await doSteps(this.#run, plan.device).catch((error: unknown) => {
      throw explained(error, view);
    });
    await setSwitches(device, wanted.families, this.#log);
    await doSteps(this.#run, plan.rest);
    if (steps > 0) {
      const { mtu } = wanted;
      this.#log.info(
        { device, self: view.self, dataPathAddr, mtu, peers: wanted.peers.length, steps, occasion },
        'mesh brought up to date',
      );
    }
    return wanted;
  }

  #checkMachine(view: MeshView, devices: readonly Device[]): void {
    const { dataPathAddr } = this.#options;
    const has = (is: (addr: string) => boolean) =>
      devices.find(({ name, addresses }) => name !== this.device && addresses.some(({ addr }) => is(addr)));
    if (!has((addr) => addr === dataPathAddr))
      throw failed(`${dataPathAddr} is no address of this machine; --data-path-addr names one that is`);
    const other = has((addr) => isInPool(view.pool4, addr) || isInPool(view.pool6, addr));
    if (!other) return;
    throw failed(
      isMeshDevice(other.name)
        ? `another swarmd has the mesh of this network namespace, by the device ${other.name}`
        : `the device ${other.name} has an address in ${view.pool4} or ${view.pool6}, where the mesh has its own`,
    );
  }

  async #wants(view: MeshView, devices: readonly Device[]): Promise<MeshWanted> {
    const { dataPathAddr, mark } = this.#options;
    const outer = parseIp(dataPathAddr)?.family ?? 4;
    const peers = view.peers.filter(({ addr }) => parseIp(addr)?.family === outer);
    const families: Family[] = (await hasIpv6()) ? [4, 6] : [4];
    const addrs = peers.map(({ addr }) => addr);
    if (!this.#state) this.#mtuBefore = devices.find(({ name }) => name === this.device)?.mtu;
    if (this.#paths.isProven(addrs)) this.#mtuBefore = undefined;
    const least = (await this.#paths.least(addrs)) - overhead[outer];
    const mtu = Math.max(leastMtu, Math.min(least, this.#mtuBefore ?? least));
    return { device: this.device, mark, mtu, local: dataPathAddr, families, view, peers };
  }

  // --- the peers ---

  async #followPeers({ view, peers }: MeshWanted, isFirst: boolean): Promise<void> {
    const up = peers.filter(({ up: isUp }) => isUp);
    const { v4 } = addressesOf(view, view.self);
    await this.#echo.listen(v4, (addr) => isInPool(view.pool4, addr));
    this.#echo.follow(new Map(up.map(({ nodeId, meshId }) => [nodeId, addressIn(view.pool4, meshId)])));
    this.#tracker.follow(
      up.map(({ nodeId }) => nodeId),
      this.#clock.monotonic(),
    );
    this.#prober ??= new ProbeSocket(this.#options.dataPathAddr);
    this.#paths.follow(
      up.map(({ addr }) => addr),
      (addr, probe) => this.#trySize(addr, probe),
    );
    for (const id of this.#beside.keys()) if (!up.some(({ nodeId }) => nodeId === id)) this.#beside.delete(id);
    this.#look();
    if (isFirst) await this.#firstAnswers(up);
  }

  #firstAnswers(peers: readonly MeshPeer[]): Promise<void> {
    const isMissing = () => peers.some(({ nodeId }) => this.#tracker.answers(nodeId) === 'unknown');
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.#heard = undefined;
        resolve();
      };
      const timer = this.#clock.after(firstAnswersMs, end);
      this.#heard = () => {
        if (!isMissing()) end();
      };
      this.#heard();
    });
  }

  #heard: (() => void) | undefined;

  /** Asks those whose time has come. */
  #look(): void {
    if (this.#isClosed) return;
    const now = this.#clock.monotonic();
    const { ask, changed } = this.#tracker.look(now);
    for (const id of ask) this.#ask(id);
    if (changed.length > 0) this.#publish();
    const { nextAt } = this.#tracker;
    if (nextAt === undefined) return;
    // Answers that lie there already are read before the second timer, so a busy process does not miss them.
    this.#later('look', Math.max(1, nextAt - now), () => this.#later('look', 1, () => this.#look()));
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
    const peer = this.#wanted?.peers.find((one) => canonical(one.addr) === addr);
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
    if (isNews && !this.#heard) this.#publish();
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
    this.#publish();
  }

  #peer(id: string): MeshPeer | undefined {
    return this.#wanted?.peers.find(({ nodeId }) => nodeId === id);
  }

  // --- what is said of it ---

  #troubles(): string[] {
    if (this.#failure !== undefined) return [this.#failure];
    const outside = `udp/${this.#view?.port ?? 0}, or what comes in by ${this.device}`;
    // A new one may not know of this node yet.
    const silent = this.#silentPeers(true).filter(({ nodeId }) => this.#tracker.isSilentForLong(nodeId));
    const cut = silent.map(
      (peer) =>
        `the mesh to ${nameOf(peer)} is down, though it answers beside it: is swarmd away there, or does a firewall on either drop ${outside}? Its clients are masqueraded`,
    );
    const other = this.#wanted?.view.peers.filter((peer) => !this.#peer(peer.nodeId)) ?? [];
    const foreign = other.map((peer) => `${nameOf(peer)} is of another family than ${this.#options.dataPathAddr}`);
    return [...cut, ...foreign];
  }

  #silentPeers(isThereBeside: boolean): MeshPeer[] {
    return (this.#wanted?.peers ?? []).filter(
      ({ nodeId }) => this.#tracker.answers(nodeId) === 'no' && (this.#beside.get(nodeId) ?? false) === isThereBeside,
    );
  }

  #publish(): void {
    const wanted = this.#wanted;
    if (wanted) {
      const gone = this.#silentPeers(false)
        .map(({ nodeId }) => nodeId)
        .filter((id) => this.#tracker.fellSilent(id));
      const state = meshState({
        ...wanted,
        answers: (id) => this.#isUp && this.#tracker.answers(id) === 'yes',
        gone: new Set(gone),
      });
      const signature = signatureOf(state, wanted.view);
      if (signature !== this.#signature) {
        this.#signature = signature;
        this.#state = state;
        for (const listener of this.#listeners) listener(state);
      }
    }
    const described = JSON.stringify(this.describe());
    if (described === this.#described) return;
    this.#described = described;
    const { up, why } = this.describe();
    this.#log.info({ up, ...(why !== undefined && { problem: why }) }, 'mesh state');
    for (const describer of this.#describers) describer();
  }

  #later(what: string, ms: number, act: () => void): void {
    this.#timers.get(what)?.cancel();
    if (this.#isClosed) return;
    const run = () => {
      this.#timers.delete(what);
      act();
    };
    this.#timers.set(what, this.#clock.after(ms, run, { unref: true }));
  }
}

const nameOf = ({ nodeId, addr }: MeshPeer): string => `node ${nodeId} (${addr})`;

const failed = (message: string) => new ClusterError('failed-precondition', message);
const closedError = () => new ClusterError('unavailable', 'the mesh is closed');

function explained(error: unknown, { vni, port }: MeshView): Error {
  const message = messageOf(error);
  if (!/VXLAN device with the specified VNI already exists|File exists/.test(message))
    return error instanceof Error ? error : new Error(message);
  return failed(`another VXLAN device of this network namespace has the mesh's network ${vni} on port ${port}`);
}

/** Removes what a daemon of this node has or had in the kernel. */
export async function removeMesh(
  options: Pick<MeshOptions, 'nodeId' | 'mark'>,
  run: RunCommand = runCommand,
): Promise<void> {
  const device = deviceName(options.nodeId);
  const looker = new Looker(run);
  const devices = await looker.devices();
  const found: MeshFound = await looker.mesh(device, options.mark, devices);
  const isAnothers = !found.link && devices.some(({ name }) => isMeshDevice(name));
  // The marks' rules are not by the device's name: another daemon's look the same.
  if (!isAnothers) await doSteps(run, planRemoval(device, found));
}
