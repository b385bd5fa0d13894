import { Bell, type Clock, delay, type Logger, messageOf } from '@swarmctl/shared/kit';
import { type Guest, isInRanges } from '@swarmctl/shared/model';
import type { NetworkView } from '@swarmctl/shared/wire';
import type { NameResolver } from '../dns/resolver.ts';
import { bareAddress, bridgeName, firstVersion4 } from '../overlay/identity.ts';
import type { NodeOverlay } from '../overlay/overlay.ts';
import { NamespaceBatch } from '../vip/batch.ts';
import { ContainerNamespace } from '../vip/namespace.ts';
import type { ContainerVips } from '../vip/vip.ts';
import { clear, redirect, unstick } from './asking.ts';
import type { EngineGuest, GuestEngine } from './types.ts';

// The guests of a node: containers that its users put on attachable networks. Nobody is asked beforehand; the engine gives them addresses of the
// node's block. They are found when the engine says that something happened, and each minute; then they get what tasks get: names, virtual
// addresses, the size of the network. The managers tell the other nodes of them.

export interface GuestModules {
  readonly engine: GuestEngine;
  readonly overlay: Pick<NodeOverlay, 'fit' | 'unfit' | 'lost'>;
  readonly resolver: Pick<NameResolver, 'attached' | 'detached' | 'machines'>;
  readonly vips: Pick<ContainerVips, 'started' | 'ended'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** For tests. */
  readonly namespaceOf?: (pid: number) => Promise<Pick<ContainerNamespace, 'open'> | undefined>;
  readonly run?: NamespaceBatch['run'];
}

const gatherMs = 20;
const sweepMs = 60_000;
const retryMs = 1_000;
/** The engine may tell of a container before it shows it. */
const settleMs = 500;
/** Of what is said of them, in the node's description. */
const mostBytes = 48 * 1024;
const mostNames = 8;

/** Where a guest is on a network of this node's. */
interface Place {
  readonly view: NetworkView;
  readonly addresses: readonly string[];
  readonly mac: string;
  readonly names: readonly string[];
  readonly links: EngineGuest['networks'][number]['links'];
}

interface Known {
  readonly name: string;
  /** All that it is dealt with by; another: it is dealt with anew. */
  readonly key: string;
  readonly namespace: Pick<ContainerNamespace, 'open'> | undefined;
  readonly said: readonly Guest[];
  problem?: string | undefined;
}

export class NodeGuests {
  readonly #modules: GuestModules;
  readonly #run: NamespaceBatch['run'];
  readonly #bell = new Bell();
  readonly #known = new Map<string, Known>();
  readonly #listeners = new Set<() => void>();
  readonly #work: Promise<void>;
  /** Attachable networks, by bridge. */
  #views: ReadonlyMap<string, NetworkView> = new Map();
  #following: AbortController | undefined;
  readonly #closed = new AbortController();

  constructor(modules: GuestModules) {
    this.#modules = modules;
    const batch = new NamespaceBatch();
    this.#run = modules.run ?? ((job) => batch.run(job));
    this.#work = this.#loop();
  }

  /** Resolves at once, but when guests cannot be any more: when they have nothing of it. Never rejects. */
  async apply(views: ReadonlyMap<string, NetworkView>): Promise<void> {
    const attachable = [...views.values()].filter(({ subnets }) => subnets.some(({ block }) => block !== undefined));
    const before = [...this.#views.values()].map(placeOf).join();
    this.#views = new Map(attachable.map((view) => [bridgeName(view.id), view]));
    if (attachable.length === 0) {
      this.#following?.abort();
      this.#following = undefined;
      // Nobody is asked.
      return this.look();
    }
    this.#follow();
    if ([...this.#views.values()].map(placeOf).join() !== before) this.#bell.ring();
  }

  /** Resolves with those that are there now; also called by itself. Rejects with what the engine says. */
  async look(): Promise<void> {
    const { engine, log } = this.#modules;
    const views = this.#views;
    const found = views.size === 0 ? [] : await engine.list(new Set(views.keys()));
    // There can be none any more, and they have been dealt with.
    if (views !== this.#views && this.#views.size === 0) return;
    const places = new Map(found.map((guest) => [guest.containerId, placesOf(guest, views)] as const));
    let isOther = false;
    const work: Promise<void>[] = [];
    for (const [id, known] of this.#known) {
      if (places.get(id)?.isHere) continue;
      isOther = true;
      this.#known.delete(id);
      work.push(this.#leave(id, known));
      log.info({ container: known.name }, 'a container made by hand has left');
    }
    for (const guest of found) {
      const at = places.get(guest.containerId);
      if (!at?.isHere) continue;
      const key = JSON.stringify([guest, at.places.map(({ view }) => placeOf(view))]);
      if (this.#known.get(guest.containerId)?.key === key) continue;
      isOther = true;
      work.push(this.#join(guest, key, at));
    }
    // The managers need not wait for what is done here.
    if (isOther) for (const listener of this.#listeners) listener();
    await Promise.all(work);
    if (isOther) for (const listener of this.#listeners) listener();
  }

  /** As the managers are told of them: not all when they are very many. */
  list(): readonly Guest[] {
    let bytes = 0;
    return [...this.#known.values()]
      .flatMap(({ said }) => said)
      .filter((guest) => {
        bytes += JSON.stringify(guest).length;
        return bytes <= mostBytes;
      });
  }

  /** A sentence each. */
  problems(): readonly string[] {
    return [...this.#known.values()].flatMap(({ name, problem }) =>
      problem === undefined ? [] : [`container ${name}: ${problem}`],
    );
  }

  /** The list or the problems may be others. Returns an unsubscriber. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What they have stays, until the next daemon finds them. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#following?.abort();
    this.#bell.ring();
    await this.#work;
  }

  #follow(): void {
    if (this.#following || this.#closed.signal.aborted) return;
    this.#following = new AbortController();
    const tell = {
      changed: () => this.#bell.ring(),
      // Such as by a prune, since nobody need be on it.
      lost: (network: string) => this.#modules.overlay.lost(network),
    };
    void this.#modules.engine.follow(tell, this.#following.signal);
  }

  async #loop(): Promise<void> {
    const { clock, log } = this.#modules;
    let waitMs = sweepMs;
    for (;;) {
      const isTold = await this.#bell.wait(clock, waitMs);
      if (this.#closed.signal.aborted) return;
      waitMs = isTold ? settleMs : sweepMs;
      await this.look().catch((error) => {
        log.debug({ error: messageOf(error) }, 'containers made by hand could not be looked for');
        waitMs = retryMs;
      });
      // What failed is tried again.
      if ([...this.#known.values()].some(({ key }) => key === '')) waitMs = retryMs;
      await delay(clock, gatherMs, this.#closed.signal).catch(() => {});
    }
  }

  async #join(guest: EngineGuest, key: string, { places, strays }: Whereabouts): Promise<void> {
    const { overlay, resolver, log } = this.#modules;
    const { containerId: id, name, pid, nameservers } = guest;
    const was = this.#known.get(id);
    const said = places.map(({ view, addresses, mac, names }) => ({
      ...{ NetworkID: view.id, ContainerID: id, Name: name, Addresses: addresses, MAC: mac },
      Names: names.slice(0, mostNames),
    }));
    const begun = { name, key, namespace: was?.namespace, said, problem: was?.problem };
    this.#known.set(id, begun);
    resolver.attached(id, {
      addrs: places.flatMap(({ view, addresses }) => addresses.map((addr) => ({ networkId: view.id, addr }))),
      links: new Map(places.flatMap(({ links }) => links)),
      ...(nameservers.length > 0 && { nameservers }),
    });
    const namespace = await (this.#modules.namespaceOf ?? ContainerNamespace.of)(pid);
    const problems = [...strays];
    let isDone = true;
    const attempt = async (work: Promise<unknown> | undefined) => {
      await work?.catch((error: unknown) => {
        isDone = false;
        problems.push(messageOf(error));
      });
    };
    await Promise.all([
      overlay.fit(id, pid, new Map(places.map(({ view, mac }) => [view.id, mac]))),
      attempt(this.#serve(guest, places, namespace)),
      attempt(namespace && places.length > 0 ? this.#lead(guest, places, namespace, problems) : undefined),
    ]);
    // It has left meanwhile.
    if (this.#known.get(id) !== begun) return this.#leave(id, { ...begun, namespace });
    const problem = problems.length > 0 ? problems.join('; ') : undefined;
    this.#known.set(id, { name, key: isDone ? key : '', namespace, said, problem });
    if (problem !== undefined && problem !== was?.problem)
      log.warn({ container: name, problem }, 'a container made by hand has a problem');
    if (!was)
      log.info({ container: name, networks: places.map(({ view }) => view.name) }, 'a container made by hand is here');
  }

  /** Virtual addresses. */
  async #serve(
    { containerId, pid }: EngineGuest,
    places: readonly Place[],
    namespace: Pick<ContainerNamespace, 'open'> | undefined,
  ): Promise<void> {
    const ids = places.map(({ view }) => view.id);
    await this.#modules.vips.started(containerId, pid, ids);
    const vips = places.flatMap(({ view }) => view.names.flatMap(({ vip }) => vip ?? []));
    if (namespace && vips.length > 0) await unstick(this.#run, namespace, vips);
  }

  /** Its questions to where they are answered. */
  async #lead(
    guest: EngineGuest,
    places: readonly Place[],
    namespace: Pick<ContainerNamespace, 'open'>,
    problems: string[],
  ) {
    const { resolver } = this.#modules;
    const answering = firstVersion4(places[0]?.view.subnets.map(({ gateway }) => bareAddress(gateway)) ?? []);
    const hasWayOut = guest.isElsewhere || places.some(({ view }) => !view.internal);
    const asked = guest.nameservers.length > 0 ? guest.nameservers : await resolver.machines();
    const servers = hasWayOut ? asked : [];
    if (servers.length === 0 && guest.isElsewhere) {
      problems.push(
        'it has names of other networks to ask its engine for, which asks a resolver on this machine itself: for those of this network give it --dns',
      );
      return;
    }
    await redirect(this.#run, namespace, { servers, resolver: answering });
  }

  async #leave(id: string, { namespace }: Known): Promise<void> {
    const { overlay, resolver, vips } = this.#modules;
    resolver.detached(id);
    overlay.unfit(id);
    vips.ended(id);
    if (namespace) await clear(this.#run, namespace).catch(() => {});
  }
}

/** What of a view its guests are dealt with by. */
const placeOf = ({ id, subnets, internal }: NetworkView): string => JSON.stringify([id, subnets, internal]);

interface Whereabouts {
  readonly places: readonly Place[];
  /** What is wrong with where it is. */
  readonly strays: readonly string[];
  /** On a network of the cluster's, rightly or wrongly. */
  readonly isHere: boolean;
}

function placesOf(guest: EngineGuest, views: ReadonlyMap<string, NetworkView>): Whereabouts {
  const places: Place[] = [];
  const strays: string[] = [];
  for (const { bridge, addresses, mac, names, links } of guest.networks) {
    const view = views.get(bridge);
    if (!view) continue;
    const blocks = view.subnets.flatMap(({ block }) => block ?? []);
    const own = addresses.map(bareAddress).filter((addr) => isInRanges(blocks, addr));
    if (own.length > 0) places.push({ view, addresses: own, mac, names, links });
    if (own.length < addresses.length) {
      strays.push(
        `it has ${addresses.join(' and ')} on network ${view.name}, which other nodes do not know: this node's own are ${blocks.join(' and ')}`,
      );
    }
  }
  return { places, strays, isHere: places.length + strays.length > 0 };
}
