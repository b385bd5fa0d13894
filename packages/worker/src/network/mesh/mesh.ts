import { type Clock, ClusterError, type Logger, messageOf } from '@swarmctl/shared/kit';
import { type NodeDescription, parseIp } from '@swarmctl/shared/model';
import type { MeshPeer, MeshView } from '@swarmctl/shared/wire';
import { type RunCommand, runCommand } from '../command.ts';
import { PathMtus } from '../path-mtu.ts';
import { NamedTimers } from '../timers.ts';
import type { Mesh, MeshOptions, MeshState } from '../types.ts';
import { type Device, hasIpv6, Looker } from './look.ts';
import { deviceName, isInPool, isMeshDevice } from './names.ts';
import { MeshPeers } from './peers.ts';
import { type Family, type MeshFound, type MeshWanted, planMesh, planRemoval } from './plan.ts';
import { meshState, signatureOf } from './state.ts';
import { doSteps, setSwitches } from './tool.ts';

// The mesh by the kernel's VXLAN: one thing after the other, it compares what the kernel has with what should be there, at each new view and
// every minute, and says what of it the node can use now.

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
/** IPv4 or IPv6, UDP, VXLAN and Ethernet around each packet. */
const overhead = { 4: 50, 6: 70 };
const leastMtu = 576;
const longestWhy = 1_000;

export class KernelMesh implements Mesh {
  readonly device: string;
  readonly #options: MeshOptions;
  readonly #log: Logger;
  readonly #run: RunCommand;
  readonly #looker: Looker;
  readonly #paths: PathMtus;
  readonly #unfollow: () => void;
  readonly #peers: MeshPeers;
  readonly #listeners = new Set<(state: MeshState) => void>();
  readonly #describers = new Set<() => void>();
  readonly #timers: NamedTimers;

  #view: MeshView | undefined;
  #wanted: MeshWanted | undefined;
  #state: MeshState | undefined;
  #signature = '';
  #described = '';
  #isUp: boolean;
  #failure: string | undefined = 'it is not set up yet';
  /** What an earlier daemon found, until it is tried again. */
  #mtuBefore: number | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(options: MeshOptions, modules: MeshModules, isUp: boolean) {
    this.device = deviceName(options.nodeId);
    this.#options = options;
    this.#log = modules.log;
    this.#timers = new NamedTimers(modules.clock);
    this.#run = modules.run ?? runCommand;
    this.#looker = new Looker(this.#run);
    this.#paths = modules.paths ?? new PathMtus(options.dataPathAddr, modules);
    this.#peers = new MeshPeers({
      ...{ clock: modules.clock, paths: this.#paths, dataPathAddr: options.dataPathAddr },
      changed: () => {
        if (!this.#isClosed) this.#publish();
      },
    });
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
    return [
      ...this.#troubles(),
      ...this.#peers.silent({ beside: false }).map((peer) => `${nameOf(peer)} does not answer`),
    ];
  }

  /** Compares and repairs. Runs by itself each minute; never throws. */
  sweep(): Promise<void> {
    return this.#next(() => this.#reconcile('a look around'))
      .catch(() => undefined)
      .finally(() => {
        this.#sweepLater();
      });
  }

  async close(options: { readonly keep?: boolean } = {}): Promise<void> {
    const isFirst = !this.#isClosed;
    this.#isClosed = true;
    this.#timers.close();
    this.#unfollow();
    if (isFirst && !options.keep) this.#work = this.#work.then(() => removeMesh(this.#options, this.#run));
    await this.#work.finally(() => this.#peers.close());
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
      await this.#peers.follow(view, wanted.peers, isFirst);
      if (!this.#timers.has('sweep')) this.#sweepLater();
    } catch (error) {
      const failure = messageOf(error);
      if (this.#failure !== failure) this.#log.warn({ problem: failure }, 'there is no mesh; it is tried again');
      this.#failure = failure;
      this.#isUp = false;
      this.#timers.after('retry', retryMs, () => void this.sweep());
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

  // --- what is said of it ---

  #troubles(): string[] {
    if (this.#failure !== undefined) return [this.#failure];
    const outside = `udp/${this.#view?.port ?? 0}, or what comes in by ${this.device}`;
    const silent = this.#peers.silent({ beside: true }).filter(({ nodeId }) => this.#peers.isSilentForLong(nodeId));
    const cut = silent.map(
      (peer) =>
        `the mesh to ${nameOf(peer)} is down, though it answers beside it: is swarmd away there, or does a firewall on either drop ${outside}? Its clients are masqueraded`,
    );
    const { view, peers } = this.#wanted ?? {};
    const other = view?.peers.filter(({ nodeId }) => !peers?.some((peer) => peer.nodeId === nodeId)) ?? [];
    const foreign = other.map((peer) => `${nameOf(peer)} is of another family than ${this.#options.dataPathAddr}`);
    return [...cut, ...foreign];
  }

  #publish(): void {
    const wanted = this.#wanted;
    if (wanted) {
      const state = meshState({
        ...wanted,
        answers: (id) => this.#isUp && this.#peers.answers(id),
        gone: this.#peers.gone(),
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

  #sweepLater(): void {
    this.#timers.after('sweep', sweepMs, () => void this.sweep());
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
