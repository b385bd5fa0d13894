import { Bell, ClusterError, messageOf, type Timer } from '@swarmctl/shared/kit';
import { engineNetworkName, macOf, type Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { type RunCommand, runCommand } from '../command.ts';
import { PathMtus } from '../path-mtu.ts';
import type { EngineEndpoints, Overlay } from '../types.ts';
import { Versions } from '../versions.ts';
import type { TunnelState } from '../wireguard/tunnel.ts';
import { guarded, OverlayGuard } from './guard.ts';
import { bareAddress, bridgeName, firstVersion4, isVersion4, ownerOf, portName } from './identity.ts';
import { execute, type Kernel, readKernel } from './kernel.ts';
import { ContainerMtus, overheadOf } from './mtu.ts';
import {
  foreignOwner,
  type NetworkState,
  plan,
  planned,
  planRemoval,
  type WantedNetwork,
  wantedNetwork,
} from './plan.ts';
import type { OverlayModules, OverlayOptions } from './types.ts';

// The overlay networks of one node. One loop holds the kernel to the views, by what has changed; the engine, which may be slow or away, is seen to
// beside it. A network stays as long as a view or a container has it; each minute, everything is compared with what is.

const gapMs = 10;
const sweepMs = 60_000;
const firstRetryMs = 500;
const worstRetryMs = 30_000;
/** A task may come before its networks. */
const unknownMs = 10_000;

interface Slot {
  readonly id: string;
  view: NetworkView;
  /** In the views; else a container may keep it. */
  isListed: boolean;
  /** What the kernel has; undefined: unknown. */
  kernel?: NetworkState | undefined;
  /** The view that the kernel was held to. */
  held?: NetworkView | undefined;
  /** The engine has it, and names are answered. */
  isOpen: boolean;
  /** Since the latest sweep. */
  isChecked: boolean;
  /** What the ways to these nodes leave; undefined: to be found. */
  size?: { readonly peers: string; readonly mtu: number } | undefined;
  /** Of the bridge that an earlier daemon left; 0: there was none. */
  mtuBefore?: number;
  /** What the engine gives containers; undefined: unknown. */
  mtuGiven?: number | undefined;
  /** The engine's name of it, and why users cannot put containers there. */
  engineName?: string;
  closedToGuests?: string | undefined;
  error?: unknown;
  /** The engine is being asked to open it, or to close it. */
  work?: Promise<void> | undefined;
  isClosing: boolean;
}

export class NodeOverlay implements Overlay {
  readonly #options: OverlayOptions;
  readonly #modules: OverlayModules;
  readonly #run: RunCommand;
  readonly #owner: string;
  readonly #bell = new Bell();
  readonly #slots = new Map<string, Slot>();
  /** Network ids by task. */
  readonly #attached = new Map<string, readonly string[]>();
  readonly #listeners = new Set<() => void>();
  readonly #troubled = new Set<() => void>();
  readonly #timers = new Map<string, Timer>();
  #views: ReadonlyMap<string, NetworkView> = new Map();
  readonly #versions = new Versions();
  /** The kernel has to be read, and what nobody wants removed. */
  #isUnsure = true;
  #retries = 0;
  readonly #paths: PathMtus;
  readonly #unfollow: () => void;
  readonly #unlisten: (() => void) | undefined;
  readonly #mtus: ContainerMtus;
  readonly #guard: OverlayGuard;
  /** Why strangers' packets cannot be kept out. */
  #unguarded: unknown;
  /** What encrypted networks have of the tunnels, or why they have nothing; undefined: to be asked for. */
  #tunnel: { readonly uses: string; readonly inside?: TunnelState | undefined; readonly error?: unknown } | undefined;
  /** Encrypted networks that an earlier daemon left, as long as they may be there. */
  #leftEncrypted: readonly { readonly vni: number; readonly port: number }[] = [];
  #isClosed = false;
  #leftovers: Promise<void> = Promise.resolve();
  readonly #work: Promise<void>;

  constructor(options: OverlayOptions, modules: OverlayModules) {
    this.#options = options;
    this.#modules = modules;
    this.#run = modules.run ?? runCommand;
    this.#owner = ownerOf(options.nodeId);
    this.#paths = modules.paths ?? new PathMtus(options.dataPathAddr, { ...modules, run: this.#run });
    this.#unfollow = this.#paths.onChange(() => this.#measureAgain());
    this.#mtus = new ContainerMtus({ log: modules.log, run: this.#run });
    this.#guard = new OverlayGuard(options.nodeId, this.#run);
    this.#unlisten = modules.tunnel?.onChange(() => this.#tunnelChanged());
    this.#work = this.#loop();
    this.#later('sweep', sweepMs, () => this.#sweepNowAndThen());
  }

  /** Resolves when the kernel has them; a network that cannot be had is in `problems`, and fails its tasks. */
  apply(views: ReadonlyMap<string, NetworkView>): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#views = views;
    const done = this.#versions.next();
    this.#bell.ring();
    return done;
  }

  async attach(task: Task): Promise<EngineEndpoints> {
    const attachments = (task.NetworksAttachments ?? [])
      .filter(({ Addresses }) => Addresses.length > 0)
      .map(({ Network, Addresses }) => ({ id: Network.ID, addrs: Addresses.map(bareAddress) }));
    // From here on, its networks are not taken away.
    this.#attached.set(
      task.ID,
      attachments.map(({ id }) => id),
    );
    const slots: Slot[] = [];
    try {
      for (const { id } of attachments) slots.push(await this.#opened(id));
    } catch (error) {
      this.#attached.delete(task.ID);
      throw error;
    }
    const nameservers = task.Spec.ContainerSpec?.DNSConfig?.Nameservers;
    this.#modules.resolver.attached(task.ID, {
      addrs: attachments.flatMap(({ id, addrs }) => addrs.map((addr) => ({ networkId: id, addr }))),
      ...(nameservers && { nameservers }),
    });
    return {
      networks: Object.fromEntries(
        attachments.map(({ id, addrs }, i) => [slots[i]?.engineName ?? engineNetworkName(id), endpoint(addrs)]),
      ),
      dns: slots.map(({ view }) => dnsAddress(view.subnets)),
    };
  }

  /** Its container runs; resolves when its devices have the sizes of its networks. Never rejects. */
  joined(task: Task, pid: number): Promise<void> {
    const attachments = (task.NetworksAttachments ?? []).filter(({ Addresses }) => Addresses.length > 0);
    const macs = attachments.map(
      ({ Network, Addresses }) => [Network.ID, macOf(firstVersion4(Addresses.map(bareAddress)))] as const,
    );
    return this.fit(task.ID, pid, new Map(macs));
  }

  /** A container runs with these hardware addresses, by network; resolves when its devices have the sizes of its networks. Never rejects. */
  fit(id: string, pid: number, macs: ReadonlyMap<string, string>): Promise<void> {
    return this.#mtus.joined(id, pid, macs);
  }

  unfit(id: string): void {
    this.#mtus.left(id);
  }

  detached(taskId: string): void {
    this.#mtus.left(taskId);
    this.#modules.resolver.detached(taskId);
    if (this.#attached.delete(taskId)) this.#bell.ring();
  }

  /** Compares all with what is, and repairs it. Runs by itself each minute. */
  async sweep(): Promise<void> {
    this.#isUnsure = true;
    // The engine is asked again, too.
    for (const slot of this.#slots.values()) slot.isChecked = false;
    await this.apply(this.#views);
    await Promise.all([...this.#slots.values()].map(({ work }) => work));
  }

  /** A sentence each. */
  problems(): readonly string[] {
    return [...this.#slots.values()].flatMap(({ view, error, closedToGuests }) => {
      const why = error === undefined ? closedToGuests : messageOf(error);
      return why === undefined ? [] : [`network ${view.name}: ${why}`];
    });
  }

  /** The engine has it no more, by its own name of it: it is made anew, and who comes waits for that. */
  lost(engineName: string): void {
    for (const slot of this.#slots.values()) if (slot.engineName === engineName) slot.isOpen = false;
    this.#bell.ring();
  }

  /** The problems may be others. */
  onTrouble(listener: () => void): void {
    this.#troubled.add(listener);
  }

  /** What is there stays, for the containers that use it, until the next daemon takes it over. */
  async close(): Promise<void> {
    if (this.#isClosed) return this.#work;
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#unfollow();
    this.#unlisten?.();
    this.#bell.ring();
    this.#tell();
    await this.#work;
    await Promise.all([...this.#slots.values()].map(({ work }) => work));
    if (this.#slots.size === 0) await this.#guard.apply([], []).catch(() => undefined);
    await this.#leftovers;
  }

  async #loop(): Promise<void> {
    for (;;) {
      await this.#bell.wait();
      if (this.#isClosed) break;
      if (this.#versions.latest === 0) continue;
      try {
        await this.#converge();
      } catch (error) {
        this.#modules.log.warn({ error: messageOf(error) }, 'overlay networks cannot be seen to; it is tried again');
        this.#retry();
      }
      await new Promise<void>((resolve) => {
        this.#modules.clock.after(gapMs, resolve);
      });
    }
    this.#versions.rejectAll(closedError());
  }

  async #converge(): Promise<void> {
    const version = this.#versions.latest;
    this.#takeViews(this.#views);
    await this.#keepStrangersOut();
    // Without the tools there may be no networks, and whoever wants one is told so below.
    if (this.#isUnsure || this.#wantedSlots().some(({ kernel }) => !kernel))
      await this.#look().catch((error) =>
        this.#modules.log.debug({ error: messageOf(error) }, 'no look at the network'),
      );
    await this.#holdTunnels();
    for (const slot of this.#slots.values()) {
      const isWanted = this.#isWanted(slot);
      if (isWanted && !slot.isClosing) await this.#hold(slot);
      if (slot.work) continue;
      if (!isWanted) this.#inBackground(slot, () => this.#remove(slot));
      else if (slot.held && !isSettled(slot)) this.#inBackground(slot, () => this.#open(slot));
    }
    this.#versions.settle(version);
    if ([...this.#slots.values()].every(({ error }) => error === undefined)) this.#retries = 0;
  }

  /** Before the networks are there. */
  async #keepStrangersOut(): Promise<void> {
    // Of one that only a container keeps, nobody answers for names any more.
    const networks = [...this.#slots.values()].map(({ view, isListed }) =>
      isListed ? guarded(view) : { ...guarded(view), asking: [] },
    );
    this.#unguarded = undefined;
    const hasGuests = networks.some(({ asking }) => asking.length > 0);
    const resolvers = hasGuests ? await this.#modules.resolver.machines() : [];
    await this.#guard.apply(networks, resolvers, this.#isUnsure).catch((error) => {
      this.#unguarded = error;
      this.#modules.log.debug({ error: messageOf(error) }, 'no guard of overlay networks');
    });
  }

  /** What encrypted networks go through, before they are there and until they are gone. */
  async #holdTunnels(): Promise<void> {
    const { tunnel } = this.#modules;
    const views = [...this.#slots.values()].map(({ view }) => view).filter(({ encrypted }) => encrypted);
    if (!tunnel) return;
    const uses = views.map(({ vni, port, far }) => ({ vni, port, peers: far.map(({ nodeAddr }) => nodeAddr) }));
    uses.push(...this.#leftEncrypted.map((left) => ({ ...left, peers: [] })));
    const wish = JSON.stringify(uses);
    if (this.#tunnel?.uses === wish && this.#tunnel.error === undefined) return;
    this.#tunnel = await tunnel.hold(uses).then(
      (inside) => ({ uses: wish, inside }),
      (error: unknown) => ({ uses: wish, error }),
    );
  }

  #tunnelChanged(): void {
    this.#tunnel = undefined;
    this.#isUnsure = true;
    this.#bell.ring();
  }

  /** A way turned out to be narrower or wider. */
  #measureAgain(): void {
    for (const slot of this.#slots.values()) {
      slot.size = undefined;
      slot.held = undefined;
    }
    this.#bell.ring();
  }

  #takeViews(views: ReadonlyMap<string, NetworkView>): void {
    for (const slot of this.#slots.values()) {
      // The resolver has forgotten one that comes back.
      if (!slot.isListed && views.has(slot.id)) slot.isOpen = false;
      slot.isListed = views.has(slot.id);
    }
    for (const [id, view] of views) {
      const slot = this.#slots.get(id);
      if (!slot) this.#slots.set(id, { id, view, isListed: true, isOpen: false, isChecked: false, isClosing: false });
      else if (slot.view !== view) {
        if (!sameForEngine(slot.view, view)) slot.isOpen = false;
        slot.view = view;
      }
    }
    this.#tell();
  }

  async #look(): Promise<void> {
    const kernel = await readKernel(this.#run);
    for (const slot of this.#wantedSlots()) {
      slot.kernel = kernel.of(bridgeName(slot.id), portName(slot.id));
      slot.held = undefined;
      slot.size = undefined;
    }
    if (!this.#isUnsure) return;
    this.#isUnsure = false;
    this.#tunnel = undefined;
    const known = new Set([...this.#slots.values()].map(({ view }) => view.vni));
    const over = kernel.networksOver(this.#modules.tunnel?.device ?? '');
    this.#leftEncrypted = over.filter(({ vni }) => !known.has(vni));
    this.#leftovers = this.#leftovers
      .then(() => this.#removeLeftovers(kernel))
      .catch((error) => {
        this.#modules.log.debug({ error: messageOf(error) }, 'networks that nobody wants could not be looked for');
      });
  }

  /** Makes the kernel have it as in its view. Never throws. */
  async #hold(slot: Slot): Promise<void> {
    const { view } = slot;
    if (slot.held === view) return;
    try {
      if (view.encrypted && !this.#hasTunnel()) return;
      if (this.#unguarded) throw this.#unguarded;
      const is = slot.kernel ?? (await readKernel(this.#run)).of(bridgeName(slot.id), portName(slot.id));
      const wanted = this.#wantedOf(view, await this.#mtuOf(slot, is));
      const other = foreignOwner(wanted, is);
      if (other !== undefined)
        throw new ClusterError('failed-precondition', `${wanted.bridge} or ${wanted.port} belongs to ${other}`);
      // As far as it is not known, until it is done.
      slot.kernel = undefined;
      await execute(this.#run, plan(wanted, is));
      slot.kernel = planned(wanted);
      slot.held = view;
      void this.#mtus.set(slot.id, { bridge: wanted.bridge, mtu: wanted.mtu, given: slot.mtuGiven });
    } catch (error) {
      slot.kernel = undefined;
      slot.held = undefined;
      this.#failed(slot, error);
    }
  }

  #wantedOf(view: NetworkView, mtu: number): WantedNetwork {
    const local = view.encrypted ? this.#tunnel?.inside?.addr : undefined;
    return wantedNetwork(view, {
      owner: this.#owner,
      local: local ?? this.#options.dataPathAddr,
      mtu,
      device: view.encrypted ? this.#modules.tunnel?.device : undefined,
    });
  }

  /** False: it is to come. Throws when it cannot be had. */
  #hasTunnel(): boolean {
    if (!this.#modules.tunnel) throw new ClusterError('failed-precondition', 'this node cannot encrypt');
    if (this.#tunnel?.error !== undefined) throw this.#tunnel.error;
    return this.#tunnel?.inside !== undefined;
  }

  async #mtuOf(slot: Slot, is: NetworkState): Promise<number> {
    const inside = this.#tunnel?.inside;
    if (slot.view.encrypted && inside) return this.#insideMtu(slot, is, inside);
    const all = [...new Set(slot.view.far.map(({ nodeAddr }) => nodeAddr))].sort();
    const peers = all.join();
    if (slot.size?.peers === peers) return slot.size.mtu;
    slot.mtuBefore ??= is.bridge?.mtu ?? 0;
    const least = (await this.#paths.least(all)) - overheadOf(this.#options.dataPathAddr);
    // What an earlier daemon found holds until the ways are tried again.
    const mtu = slot.mtuBefore > 0 && !this.#paths.isProven(all) ? Math.min(least, slot.mtuBefore) : least;
    if (slot.mtuBefore === 0) slot.mtuGiven ??= mtu;
    slot.size = { peers, mtu };
    return mtu;
  }

  #insideMtu(slot: Slot, is: NetworkState, { addr, mtu }: TunnelState): number {
    const left = mtu - overheadOf(addr);
    if (!is.bridge) slot.mtuGiven ??= left;
    return left;
  }

  async #open(slot: Slot): Promise<void> {
    const { view } = slot;
    const mtu = slot.kernel?.bridge?.mtu ?? 0;
    const ensured = await this.#modules.engine.ensure({
      name: engineNetworkName(slot.id),
      ...(view.attachable && { knownAs: view.name }),
      bridge: bridgeName(slot.id),
      subnets: view.subnets,
      internal: view.internal,
      mtu: slot.mtuGiven ?? mtu,
    });
    slot.mtuGiven = ensured.mtu;
    slot.engineName = ensured.name;
    this.#closeToGuests(slot, ensured.problem);
    await this.#mtus.set(slot.id, { bridge: bridgeName(slot.id), mtu, given: slot.mtuGiven });
    for (const { gateway } of view.subnets) await this.#modules.resolver.listen(slot.id, bareAddress(gateway));
    if (slot.error !== undefined) this.#modules.log.info({ network: view.name }, 'overlay network is all right again');
    else if (!slot.isOpen) this.#modules.log.info({ network: view.name, vni: view.vni, mtu }, 'overlay network is up');
    delete slot.error;
    slot.isChecked = true;
    slot.isOpen = sameForEngine(view, slot.view);
    this.#tell();
  }

  #closeToGuests(slot: Slot, problem: string | undefined): void {
    if (problem === slot.closedToGuests) return;
    slot.closedToGuests = problem;
    if (problem !== undefined)
      this.#modules.log.warn({ network: slot.view.name, problem }, 'no containers made by hand on a network');
    for (const listener of this.#troubled) listener();
  }

  async #remove(slot: Slot): Promise<void> {
    slot.isClosing = true;
    try {
      slot.isOpen = false;
      if (!(await this.#modules.engine.remove(bridgeName(slot.id)))) {
        // A container is on it whose end is still to come.
        this.#retry();
        return;
      }
      slot.kernel = undefined;
      slot.held = undefined;
      await execute(this.#run, planRemoval({ bridge: bridgeName(slot.id), port: portName(slot.id) }));
      if (this.#isWanted(slot)) return;
      this.#slots.delete(slot.id);
      // What it went through may go, too.
      if (slot.view.encrypted) this.#bell.ring();
      this.#mtus.forget(slot.id);
      this.#bell.ring();
      this.#modules.log.info({ network: slot.view.name }, 'overlay network is gone from this node');
    } finally {
      slot.isClosing = false;
    }
  }

  /** As soon as it is open. */
  async #opened(id: string): Promise<Slot> {
    const { clock } = this.#modules;
    const end = clock.monotonic() + unknownMs;
    for (;;) {
      if (this.#isClosed) throw closedError();
      const slot = this.#slots.get(id);
      if (slot?.isOpen) return slot;
      if (slot?.error !== undefined) throw asClusterError(slot);
      if (!slot && clock.monotonic() >= end)
        throw new ClusterError('unavailable', `the managers have not told this node of network ${id} yet`);
      await this.#change(slot ? undefined : end - clock.monotonic());
    }
  }

  /** Resolves when a network's state changed, or after `ms`. */
  #change(ms: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        timer?.cancel();
        this.#listeners.delete(done);
        resolve();
      };
      const timer = ms === undefined ? undefined : this.#modules.clock.after(ms, done);
      this.#listeners.add(done);
    });
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** But for those on their way out. */
  #wantedSlots(): Slot[] {
    return [...this.#slots.values()].filter((slot) => !slot.isClosing && this.#isWanted(slot));
  }

  #isWanted(slot: Slot): boolean {
    if (slot.isListed) return true;
    return [...this.#attached.values()].some((ids) => ids.includes(slot.id));
  }

  /** Of an earlier daemon of this node, or of networks whose removal was missed. */
  async #removeLeftovers(kernel: Kernel): Promise<void> {
    const isWanted = (bridge: string) => [...this.#slots.keys()].some((id) => bridgeName(id) === bridge);
    const busy = new Set<string>();
    for (const { bridge } of await this.#modules.engine.list()) {
      if (isWanted(bridge)) continue;
      if (!(await this.#modules.engine.remove(bridge))) busy.add(bridge);
    }
    for (const device of kernel.devicesOf(this.#owner)) {
      const bridge = device.replace(/^swx/, 'swb');
      if (isWanted(bridge) || busy.has(bridge)) continue;
      await execute(this.#run, { ip: [`link del dev ${device}`], bridge: [] });
    }
    if (busy.size > 0 || this.#leftEncrypted.length === 0) return;
    this.#leftEncrypted = [];
    this.#bell.ring();
  }

  #inBackground(slot: Slot, work: () => Promise<void>): void {
    slot.work = work()
      .catch((error) => this.#failed(slot, error))
      .finally(() => {
        slot.work = undefined;
        // It may be wanted otherwise by now.
        if (slot.error === undefined && this.#isWanted(slot) !== slot.isOpen) this.#bell.ring();
      });
  }

  #failed(slot: Slot, error: unknown): void {
    if (messageOf(slot.error) !== messageOf(error))
      this.#modules.log.warn({ network: slot.view.name, error: messageOf(error) }, 'overlay network has a problem');
    slot.error = error;
    this.#tell();
    this.#retry();
  }

  #retry(): void {
    if (this.#timers.has('retry')) return;
    const ms = Math.min(firstRetryMs * 2 ** this.#retries++, worstRetryMs);
    this.#later('retry', ms, () => this.#bell.ring());
  }

  #sweepNowAndThen(): void {
    this.#later('sweep', sweepMs, () => this.#sweepNowAndThen());
    if (this.#versions.latest > 0) this.sweep().catch(() => {});
  }

  #later(name: string, ms: number, work: () => void): void {
    if (this.#isClosed) return;
    const timer = this.#modules.clock.after(
      ms,
      () => {
        if (this.#timers.get(name) === timer) this.#timers.delete(name);
        work();
      },
      { unref: true },
    );
    this.#timers.set(name, timer);
  }
}

const closedError = () => new ClusterError('unavailable', 'the overlay networks of this node are closed');

const isSettled = ({ isOpen, isChecked, error }: Slot): boolean => isOpen && isChecked && error === undefined;

const sameForEngine = (a: NetworkView, b: NetworkView): boolean =>
  a === b || (a.internal === b.internal && JSON.stringify(a.subnets) === JSON.stringify(b.subnets));

function asClusterError({ view, error }: Slot): ClusterError {
  const code = error instanceof ClusterError ? error.code : 'unavailable';
  return new ClusterError(code, `network ${view.name}: ${messageOf(error)}`, {}, error);
}

function endpoint(addrs: readonly string[]): EngineEndpoints['networks'][string] {
  const v4 = addrs.find(isVersion4);
  const v6 = addrs.find((addr) => !isVersion4(addr));
  return {
    IPAMConfig: { ...(v4 && { IPv4Address: v4 }), ...(v6 && { IPv6Address: v6 }) },
    ...(v4 && { MacAddress: macOf(v4) }),
  };
}

/** Containers ask by IPv4 where they can. */
const dnsAddress = (subnets: NetworkView['subnets']): string =>
  firstVersion4(subnets.map(({ gateway }) => bareAddress(gateway)));
