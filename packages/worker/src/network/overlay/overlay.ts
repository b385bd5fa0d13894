import { Bell, delay, messageOf } from '@swarmctl/shared/kit';
import { engineNetworkName, type Task } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import { type RunCommand, runCommand } from '../command.ts';
import { PathMtus } from '../path-mtu.ts';
import { NamedTimers } from '../timers.ts';
import type { EngineEndpoints, Overlay } from '../types.ts';
import { Versions } from '../versions.ts';
import { attachmentsOf, endpointsOf, macAt } from './attachments.ts';
import { guarded, OverlayGuard } from './guard.ts';
import { bareAddress, bridgeName } from './identity.ts';
import type { Kernel } from './kernel.ts';
import { KernelNetworks } from './kernel-networks.ts';
import { removeLeftovers } from './leftovers.ts';
import { ContainerMtus } from './mtu.ts';
import { closedError, isSettled, type Slot, Slots, sameForEngine } from './slots.ts';
import { TunnelHold } from './tunnel-hold.ts';
import type { OverlayModules, OverlayOptions } from './types.ts';

// The overlay networks of one node. One loop holds the kernel to the views, by what has changed; the engine, which may be slow or away, is seen to
// beside it. A network stays as long as a view or a container has it; each minute, everything is compared with what is.

const gapMs = 10;
const sweepMs = 60_000;
const firstRetryMs = 500;
const worstRetryMs = 30_000;

export class NodeOverlay implements Overlay {
  readonly #modules: OverlayModules;
  readonly #run: RunCommand;
  readonly #bell = new Bell();
  readonly #slots: Slots;
  readonly #troubled = new Set<() => void>();
  /** The problems that listeners know of. */
  #told = '';
  readonly #timers: NamedTimers;
  #views: ReadonlyMap<string, NetworkView> = new Map();
  readonly #versions = new Versions();
  /** The kernel has to be read, and what nobody wants removed. */
  #isUnsure = true;
  #retries = 0;
  readonly #kernel: KernelNetworks;
  readonly #unfollow: () => void;
  readonly #unlisten: (() => void) | undefined;
  readonly #mtus: ContainerMtus;
  readonly #guard: OverlayGuard;
  /** Why strangers' packets cannot be kept out. */
  #unguarded: unknown;
  readonly #tunnels: TunnelHold;
  #isClosed = false;
  #leftovers: Promise<void> = Promise.resolve();
  readonly #work: Promise<void>;

  constructor(options: OverlayOptions, modules: OverlayModules) {
    this.#modules = modules;
    this.#run = modules.run ?? runCommand;
    this.#slots = new Slots(modules.clock);
    this.#timers = new NamedTimers(modules.clock);
    this.#tunnels = new TunnelHold(modules.tunnel);
    const paths = modules.paths ?? new PathMtus(options.dataPathAddr, { ...modules, run: this.#run });
    this.#kernel = new KernelNetworks(options, { run: this.#run, paths, tunnels: this.#tunnels });
    this.#unfollow = paths.onChange(() => this.#measureAgain());
    this.#mtus = new ContainerMtus({ log: modules.log, run: this.#run });
    this.#guard = new OverlayGuard(options.nodeId, this.#run);
    this.#unlisten = modules.tunnel?.onChange(() => this.#tunnelChanged());
    this.#work = this.#loop();
    this.#sweepLater();
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
    const attachments = attachmentsOf(task);
    const ids = attachments.map(({ networkId }) => networkId);
    this.#slots.attach(task.ID, ids);
    const opened = new Map<string, Slot>();
    try {
      for (const id of ids) opened.set(id, await this.#slots.opened(id));
    } catch (error) {
      this.#slots.detach(task.ID);
      throw error;
    }
    const nameservers = task.Spec.ContainerSpec?.DNSConfig?.Nameservers;
    this.#modules.resolver.attached(task.ID, {
      addrs: attachments.flatMap(({ networkId, addrs }) => addrs.map((addr) => ({ networkId, addr }))),
      ...(nameservers && { nameservers }),
    });
    return endpointsOf(attachments, opened);
  }

  /** Its container runs; resolves when its devices have the sizes of its networks. Never rejects. */
  joined(task: Task, pid: number): Promise<void> {
    const macs = attachmentsOf(task).map((attachment) => [attachment.networkId, macAt(attachment)] as const);
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
    if (this.#slots.detach(taskId)) this.#bell.ring();
  }

  /** Compares all with what is, and repairs it. Runs by itself each minute. */
  async sweep(): Promise<void> {
    this.#isUnsure = true;
    // The engine is asked again, too.
    for (const slot of this.#slots.all()) slot.isChecked = false;
    await this.apply(this.#views);
    await Promise.all(this.#slots.all().map(({ work }) => work));
  }

  /** A sentence each. */
  problems(): readonly string[] {
    return this.#slots.all().flatMap(({ view, error, closedToGuests }) => {
      const why = error === undefined ? closedToGuests : messageOf(error);
      return why === undefined ? [] : [`network ${view.name}: ${why}`];
    });
  }

  /** The engine has it no more, by its own name of it: it is made anew, and who comes waits for that. */
  lost(engineName: string): void {
    for (const slot of this.#slots.all()) if (slot.engineName === engineName) slot.isOpen = false;
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
    this.#timers.close();
    this.#unfollow();
    this.#unlisten?.();
    this.#bell.ring();
    this.#slots.close();
    await this.#work;
    await Promise.all(this.#slots.all().map(({ work }) => work));
    if (this.#slots.all().length === 0) await this.#guard.remove().catch(() => undefined);
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
      await delay(this.#modules.clock, gapMs);
    }
    this.#versions.rejectAll(closedError());
  }

  async #converge(): Promise<void> {
    const version = this.#versions.latest;
    this.#slots.list(this.#views);
    await this.#keepStrangersOut();
    // Without the tools there may be no networks, and whoever wants one is told so below.
    if (this.#isUnsure || this.#slots.wanted().some(({ kernel }) => !kernel))
      await this.#look().catch((error) =>
        this.#modules.log.debug({ error: messageOf(error) }, 'no look at the network'),
      );
    await this.#tunnels.hold(this.#slots.all().flatMap(({ view }) => (view.encrypted ? [view] : [])));
    for (const slot of this.#slots.all()) {
      const isWanted = this.#slots.isWanted(slot);
      if (isWanted && !slot.isClosing) await this.#hold(slot);
      if (slot.work) continue;
      if (!isWanted) this.#inBackground(slot, () => this.#remove(slot));
      else if (slot.held && !isSettled(slot)) this.#inBackground(slot, () => this.#open(slot));
    }
    this.#versions.settle(version);
    if (this.#slots.all().every(({ error }) => error === undefined)) this.#retries = 0;
  }

  /** Before the networks are there. */
  async #keepStrangersOut(): Promise<void> {
    // Of one that only a container keeps, nobody answers for names any more.
    const networks = this.#slots
      .all()
      .map(({ view, isListed }) => (isListed ? guarded(view) : { ...guarded(view), asking: [] }));
    this.#unguarded = undefined;
    const machines = () => this.#modules.resolver.machines();
    await this.#guard.apply(networks, machines, this.#isUnsure).catch((error) => {
      this.#unguarded = error;
      this.#modules.log.debug({ error: messageOf(error) }, 'no guard of overlay networks');
    });
  }

  #tunnelChanged(): void {
    this.#tunnels.forget();
    this.#isUnsure = true;
    this.#bell.ring();
  }

  /** A way turned out to be narrower or wider. */
  #measureAgain(): void {
    for (const slot of this.#slots.all()) {
      slot.mtu.forget();
      slot.held = undefined;
    }
    this.#bell.ring();
  }

  async #look(): Promise<void> {
    const kernel = await this.#kernel.look(this.#slots.wanted());
    if (!this.#isUnsure) return;
    this.#isUnsure = false;
    this.#tunnels.forget();
    const known = new Set(this.#slots.all().map(({ view }) => view.vni));
    const over = kernel.networksOver(this.#tunnels.device ?? '');
    this.#tunnels.left = over.filter(({ vni }) => !known.has(vni));
    this.#leftovers = this.#leftovers
      .then(() => this.#removeLeftovers(kernel))
      .catch((error) => {
        this.#modules.log.debug({ error: messageOf(error) }, 'networks that nobody wants could not be looked for');
      });
  }

  async #removeLeftovers(kernel: Kernel): Promise<void> {
    const isKnown = (bridge: string) => this.#slots.hasBridge(bridge);
    const { engine } = this.#modules;
    if (!(await removeLeftovers(kernel, this.#kernel.owner, { engine, run: this.#run, isKnown }))) return;
    if (this.#tunnels.left.length === 0) return;
    this.#tunnels.left = [];
    this.#bell.ring();
  }

  /** Makes the kernel have it as in its view. Never throws. */
  async #hold(slot: Slot): Promise<void> {
    const { view } = slot;
    if (slot.held === view) return;
    try {
      if (view.encrypted && !this.#tunnels.isUp()) return;
      if (this.#unguarded) throw this.#unguarded;
      const mtu = await this.#kernel.hold(slot);
      void this.#mtus.set(slot.id, { bridge: bridgeName(slot.id), mtu, given: slot.mtu.given });
    } catch (error) {
      this.#kernel.forget(slot);
      this.#failed(slot, error);
    }
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
      mtu: slot.mtu.given ?? mtu,
    });
    slot.mtu.given = ensured.mtu;
    slot.engineName = ensured.name;
    this.#closeToGuests(slot, ensured.problem);
    await this.#mtus.set(slot.id, { bridge: bridgeName(slot.id), mtu, given: slot.mtu.given });
    for (const { gateway } of view.subnets) await this.#modules.resolver.listen(slot.id, bareAddress(gateway));
    if (slot.error !== undefined) this.#modules.log.info({ network: view.name }, 'overlay network is all right again');
    else if (!slot.isOpen) this.#modules.log.info({ network: view.name, vni: view.vni, mtu }, 'overlay network is up');
    delete slot.error;
    slot.isChecked = true;
    slot.isOpen = sameForEngine(view, slot.view);
    this.#changed();
  }

  #closeToGuests(slot: Slot, problem: string | undefined): void {
    if (problem === slot.closedToGuests) return;
    slot.closedToGuests = problem;
    if (problem !== undefined)
      this.#modules.log.warn({ network: slot.view.name, problem }, 'no containers made by hand on a network');
  }

  /** Tells of it when the problems are others. */
  #changed(): void {
    this.#slots.changed();
    const problems = this.problems().join('\n');
    if (problems === this.#told) return;
    this.#told = problems;
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
      await this.#kernel.remove(slot);
      if (this.#slots.isWanted(slot)) return;
      this.#slots.remove(slot.id);
      this.#mtus.forget(slot.id);
      // The tunnels that it went through may go, too.
      this.#bell.ring();
      this.#changed();
      this.#modules.log.info({ network: slot.view.name }, 'overlay network is gone from this node');
    } finally {
      slot.isClosing = false;
    }
  }

  #inBackground(slot: Slot, work: () => Promise<void>): void {
    slot.work = work()
      .catch((error) => this.#failed(slot, error))
      .finally(() => {
        slot.work = undefined;
        // It may be wanted otherwise by now.
        if (slot.error === undefined && this.#slots.isWanted(slot) !== slot.isOpen) this.#bell.ring();
      });
  }

  #failed(slot: Slot, error: unknown): void {
    if (messageOf(slot.error) !== messageOf(error))
      this.#modules.log.warn({ network: slot.view.name, error: messageOf(error) }, 'overlay network has a problem');
    slot.error = error;
    this.#changed();
    this.#retry();
  }

  #retry(): void {
    if (this.#timers.has('retry')) return;
    const ms = Math.min(firstRetryMs * 2 ** this.#retries++, worstRetryMs);
    this.#timers.after('retry', ms, () => this.#bell.ring());
  }

  #sweepLater(): void {
    this.#timers.after('sweep', sweepMs, () => {
      this.#sweepLater();
      if (this.#versions.latest > 0) this.sweep().catch(() => {});
    });
  }
}
