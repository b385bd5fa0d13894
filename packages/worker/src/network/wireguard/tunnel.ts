import { isIPv6 } from 'node:net';
import { type Clock, ClusterError, type Logger, messageOf, type Timer } from '@swarmctl/shared/kit';
import { type NodeDescription, parseIpRange } from '@swarmctl/shared/model';
import type { TunnelView } from '@swarmctl/shared/wire';
import { type RunCommand, runCommand } from '../command.ts';
import { NftTool } from '../nft/tool.ts';
import type { PathMtus } from '../path-mtu.ts';
import { whichDriver } from './driver.ts';
import { guardText } from './guard.ts';
import { newPrivateKey, publicKeyOf } from './keys.ts';
import { findLink, ip } from './links.ts';
import { deviceName, guardTable, ownerOf } from './names.ts';
import { planDevice, type WantedDevice, wantedDevice } from './plan.ts';
import type { Driver } from './types.ts';

// This node's end of the tunnels that encrypted networks go through: one WireGuard device, which is there as long as such a network is. Its key
// is made here; the managers say who the peers are, and the pre-shared key that changes from time to time.

export interface TunnelOptions {
  readonly nodeId: string;
  /** Where other nodes send the encrypted packets to. */
  readonly dataPathAddr: string;
  /** Of what `wireguard-go` has to say. */
  readonly logPath: string;
}

export interface TunnelModules {
  readonly log: Logger;
  readonly clock: Clock;
  readonly run?: RunCommand;
  /** How large packets to other nodes may be. */
  readonly paths: Pick<PathMtus, 'least' | 'isProven' | 'onChange'>;
  /** Starts wireguard-go; its name if not given. */
  readonly command?: readonly string[];
}

/** What an encrypted network asks of the tunnels. */
export interface TunnelUse {
  readonly vni: number;
  /** UDP, of its packets inside. */
  readonly port: number;
  /** The inside addresses of the other nodes that are on it. */
  readonly peers: readonly string[];
}

/** What a network that goes through them has to know. */
export interface TunnelState {
  /** This node's inside address. */
  readonly addr: string;
  /** Of the device. */
  readonly mtu: number;
}

export type TunnelDescription = NonNullable<NodeDescription['Tunnel']>;

/** IP, UDP and WireGuard around a packet, which is padded to 16 bytes within the MTU at most. */
const overhead = { 4: 60, 6: 80 };
/** Managers that are in reach have told of the peers by then. */
const unknownMs = 10_000;
const firstRetryMs = 100;
const worstRetryMs = 10_000;

export class NodeTunnel {
  readonly device: string;
  readonly #options: TunnelOptions;
  readonly #modules: TunnelModules;
  readonly #run: RunCommand;
  readonly #nft: NftTool;
  readonly #listeners = new Set<() => void>();
  readonly #describers = new Set<() => void>();
  readonly #unsubscribe: () => void;
  #driver: Driver | undefined;
  #privateKey = newPrivateKey();
  #view: TunnelView | undefined;
  #uses: readonly TunnelUse[] = [];
  /** What the device was told last. */
  #wanted: WantedDevice | undefined;
  /** There is nothing to remove. */
  #isGone = false;
  /** While the device is there. */
  #state: TunnelState | undefined;
  /** That an earlier daemon found. */
  #mtuBefore = Number.POSITIVE_INFINITY;
  /** Devices and addresses that were made. */
  #changes = 0;
  #unknownSince: number | undefined;
  #problem: string | undefined;
  #retries = 0;
  #timer: Timer | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  private constructor(options: TunnelOptions, modules: TunnelModules) {
    this.device = deviceName(options.nodeId);
    this.#options = options;
    this.#modules = modules;
    this.#run = modules.run ?? runCommand;
    this.#nft = new NftTool(this.#run);
    this.#unsubscribe = modules.paths.onChange(() => this.#refresh());
  }

  /** What an earlier daemon of this node left goes on, with its key. */
  static async open(options: TunnelOptions, modules: TunnelModules): Promise<NodeTunnel> {
    const tunnel = new NodeTunnel(options, modules);
    await tunnel.#findDriver();
    await tunnel.#takeOver();
    return tunnel;
  }

  /** What the node says of its end; undefined where there is no WireGuard. */
  describe(): TunnelDescription | undefined {
    if (!this.#driver) return undefined;
    const { dataPathAddr } = this.#options;
    return { key: publicKeyOf(this.#privateKey), generation: this.#view?.generation ?? 0, dataPathAddr };
  }

  /** `describe` says something else now. */
  onDescribe(listener: () => void): () => void {
    this.#describers.add(listener);
    return () => this.#describers.delete(listener);
  }

  /** What `hold` asked for may be had now, or must be asked for again. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What the managers say; later calls replace earlier ones. */
  apply(view: TunnelView): void {
    const before = this.#view;
    this.#view = view;
    if (before?.generation !== view.generation) this.#tell(this.#describers);
    this.#refresh();
  }

  /**
   * All that goes through the tunnels from now on; without any, the device goes. Resolves when the peers can be sent to, or with undefined
   * while the managers are still to say who they are; rejects with ClusterError when that cannot be had. Nothing of these networks leaves in
   * clear either way.
   */
  hold(uses: readonly TunnelUse[]): Promise<TunnelState | undefined> {
    return this.#next(async () => {
      this.#uses = uses;
      return this.#reconcile();
    });
  }

  /** With `keep`, it goes on without this daemon. Idempotent. */
  async close({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    const isFirst = !this.#isClosed;
    this.#isClosed = true;
    this.#unsubscribe();
    this.#timer?.cancel();
    await this.#work.catch(() => undefined);
    if (isFirst && !keep && !this.#isGone) await this.#remove();
    this.#driver?.release();
  }

  #next<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#work.then(() => {
      if (this.#isClosed) throw new ClusterError('unavailable', 'the tunnels of this node are closed');
      return act();
    });
    this.#work = result.catch(() => undefined);
    return result;
  }

  // --- the device ---

  async #findDriver(): Promise<void> {
    const { clock, log, command } = this.#modules;
    const names = { device: this.device, owner: ownerOf(this.#options.nodeId), logPath: this.#options.logPath };
    const ended = () => this.#ended();
    this.#driver = await whichDriver(names, { run: this.#run, clock, log, ended, ...(command && { command }) });
    if (this.#driver) this.#tell(this.#describers);
  }

  async #takeOver(): Promise<void> {
    const driver = this.#driver;
    try {
      const link = driver && (await findLink(this.#run, this.device));
      if (!driver || !link || link.owner !== ownerOf(this.#options.nodeId)) return;
      await driver.ensure();
      const { privateKey } = await driver.read();
      if (!/^A*=$/.test(privateKey) && privateKey !== '') this.#privateKey = privateKey;
      const addr = link.addr?.split('/')[0];
      if (addr === undefined) return;
      this.#state = { addr, mtu: link.mtu };
      this.#mtuBefore = link.mtu;
    } catch (error) {
      this.#modules.log.warn({ error: messageOf(error) }, 'the tunnels of an earlier daemon cannot be taken over');
    }
  }

  async #reconcile(): Promise<TunnelState | undefined> {
    try {
      const state = await this.#makeTrue();
      this.#retries = 0;
      this.#problem = undefined;
      return state;
    } catch (error) {
      this.#problem = messageOf(error);
      throw error;
    }
  }

  async #makeTrue(): Promise<TunnelState | undefined> {
    if (this.#uses.length === 0) {
      if (!this.#isGone) await this.#remove();
      this.#isGone = true;
      return undefined;
    }
    this.#isGone = false;
    // First of all, so that there is no moment without.
    await this.#guard();
    if (!this.#driver) await this.#findDriver();
    const driver = this.#driver;
    if (!driver) throw absent();
    const view = this.#view;
    if (!view) return this.#withoutView();
    await driver.ensure();
    const addrs = new Set(this.#uses.flatMap(({ peers }) => peers));
    const wanted = wantedDevice(view, this.#privateKey, addrs);
    const change = planDevice(wanted, await driver.read(), this.#wanted);
    if (change) await driver.change(change);
    this.#wanted = wanted;
    this.#state = { addr: view.addr, mtu: await this.#setUp(view, addrs) };
    return this.#state;
  }

  /** A daemon that was just started hears from the managers soon; until then, what is there goes on. */
  #withoutView(): TunnelState | undefined {
    if (this.#state) return this.#state;
    const now = this.#modules.clock.monotonic();
    this.#unknownSince ??= now;
    const left = this.#unknownSince + unknownMs - now;
    if (left <= 0) throw new ClusterError('unavailable', 'the managers have not told this node of its peers yet');
    this.#refreshAfter(left);
    return undefined;
  }

  /** Returns the device's MTU. */
  async #setUp(view: TunnelView, addrs: ReadonlySet<string>): Promise<number> {
    const link = await findLink(this.#run, this.device);
    if (!link) throw new ClusterError('unavailable', `the device ${this.device} has gone`);
    const addr = `${view.addr}/${parseIpRange(view.pool)?.prefix ?? 32}`;
    const device = ['dev', this.device];
    const mtu = await this.#mtu(view, addrs);
    if (link.mtu !== mtu) await ip(this.#run, 'link', 'set', ...device, 'mtu', String(mtu));
    if (link.addr !== undefined && link.addr !== addr) await ip(this.#run, 'addr', 'del', link.addr, ...device);
    if (link.addr !== addr) await ip(this.#run, 'addr', 'replace', addr, ...device);
    if (!link.isUp) await ip(this.#run, 'link', 'set', ...device, 'up');
    if (link.isUp && link.mtu === mtu && link.addr === addr) return mtu;
    this.#changes++;
    this.#modules.log.info(
      { device: this.device, kind: this.#driver?.kind, addr, mtu, peers: addrs.size },
      'tunnels of encrypted networks are up',
    );
    return mtu;
  }

  /** Of the device: what the ways outside leave. */
  async #mtu({ peers }: TunnelView, addrs: ReadonlySet<string>): Promise<number> {
    const outside = peers.filter(({ addr }) => addrs.has(addr)).map(({ nodeAddr }) => nodeAddr);
    const { paths } = this.#modules;
    const mtu = (await paths.least(outside)) - overhead[isIPv6(this.#options.dataPathAddr) ? 6 : 4];
    // What an earlier daemon found holds until the ways are tried again.
    return paths.isProven(outside) ? mtu : Math.min(mtu, this.#mtuBefore);
  }

  async #guard(): Promise<void> {
    const vnis = [...new Set(this.#uses.map(({ vni }) => vni))].sort((a, b) => a - b);
    const port = this.#uses[0]?.port ?? 0;
    const text = guardText(guardTable(this.#options.nodeId), { device: this.device, port, vnis });
    await this.#nft.apply(text);
  }

  /** Nothing is left of it. */
  async #remove(): Promise<void> {
    const link = await findLink(this.#run, this.device).catch(() => undefined);
    if (link?.owner === ownerOf(this.#options.nodeId)) {
      await this.#driver?.remove();
      this.#modules.log.info({ device: this.device }, 'tunnels of encrypted networks are gone');
    }
    [this.#wanted, this.#state, this.#mtuBefore] = [undefined, undefined, Number.POSITIVE_INFINITY];
    const table = guardTable(this.#options.nodeId);
    await this.#nft.apply(guardText(table, { device: this.device, port: 0, vnis: [] }));
  }

  // --- what goes wrong ---

  #ended(): void {
    if (this.#isClosed) return;
    this.#modules.log.warn({ device: this.device }, 'wireguard-go has ended; it is started again');
    this.#wanted = undefined;
    this.#refresh();
  }

  /** By itself, until it is as it should be. */
  #refresh(): void {
    if (this.#isClosed || this.#uses.length === 0) return;
    const [problem, changes] = [this.#problem, this.#changes];
    this.#next(() => this.#reconcile()).then(
      () => {
        if (problem !== undefined || changes !== this.#changes) this.#tell(this.#listeners);
      },
      () => {
        if (problem !== this.#problem) this.#tell(this.#listeners);
        this.#refreshAfter(Math.min(firstRetryMs * 2 ** this.#retries++, worstRetryMs));
      },
    );
  }

  #refreshAfter(ms: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#modules.clock.after(ms, () => this.#refresh(), { unref: true });
  }

  #tell(listeners: ReadonlySet<() => void>): void {
    for (const listener of [...listeners]) listener();
  }
}

const absent = () =>
  new ClusterError(
    'failed-precondition',
    "encrypted networks need WireGuard: neither the kernel's nor wireguard-go is here",
  );
