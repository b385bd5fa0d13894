import { ClusterError } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import type { PathMtus } from '../path-mtu.ts';
import { bridgeName, ownerOf, portName } from './identity.ts';
import { execute, type Kernel, readKernel } from './kernel.ts';
import {
  foreignOwner,
  type NetworkState,
  plan,
  planned,
  planRemoval,
  type WantedNetwork,
  wantedNetwork,
} from './plan.ts';
import type { Slot } from './slots.ts';
import type { TunnelHold } from './tunnel-hold.ts';
import type { OverlayOptions } from './types.ts';

// The networks in the kernel: what it has of each is remembered in the network's slot, so that a change writes what differs alone.

export interface KernelNetworksModules {
  readonly run: RunCommand;
  readonly paths: Pick<PathMtus, 'least' | 'isProven'>;
  readonly tunnels: Pick<TunnelHold, 'device' | 'inside' | 'isUp'>;
}

export class KernelNetworks {
  readonly owner: string;
  readonly #options: OverlayOptions;
  readonly #modules: KernelNetworksModules;

  constructor(options: OverlayOptions, modules: KernelNetworksModules) {
    this.owner = ownerOf(options.nodeId);
    this.#options = options;
    this.#modules = modules;
  }

  /** Finds out what is there of these. */
  async look(slots: readonly Slot[]): Promise<Kernel> {
    const kernel = await readKernel(this.#modules.run);
    for (const slot of slots) {
      slot.kernel = kernel.of(bridgeName(slot.id), portName(slot.id));
      slot.held = undefined;
      slot.mtu.forget();
    }
    return kernel;
  }

  /** Makes the kernel have it as in its view; the MTU that it has then. Rejects with ClusterError. */
  async hold(slot: Slot): Promise<number> {
    const { view } = slot;
    const { run } = this.#modules;
    const is = slot.kernel ?? (await readKernel(run)).of(bridgeName(slot.id), portName(slot.id));
    const wanted = await this.#wanted(slot, is);
    const other = foreignOwner(wanted, is);
    if (other !== undefined)
      throw new ClusterError(
        'failed-precondition',
        `${wanted.bridge} or ${wanted.port} belongs to ${other}: nodes that share a machine's network cannot share an overlay network`,
      );
    // As far as it is not known, until it is done.
    slot.kernel = undefined;
    await execute(run, plan(wanted, is));
    slot.kernel = planned(wanted);
    slot.held = view;
    return wanted.mtu;
  }

  /** What the kernel has of it is looked for again. */
  forget(slot: Slot): void {
    slot.kernel = undefined;
    slot.held = undefined;
  }

  async remove(slot: Slot): Promise<void> {
    this.forget(slot);
    await execute(this.#modules.run, planRemoval({ bridge: bridgeName(slot.id), port: portName(slot.id) }));
  }

  async #wanted({ view, mtu }: Slot, is: NetworkState): Promise<WantedNetwork> {
    const { paths, tunnels } = this.#modules;
    const { inside, device } = tunnels;
    const { owner } = this;
    const bridge = is.bridge?.mtu;
    if (view.encrypted && inside)
      return wantedNetwork(view, {
        owner,
        local: inside.addr,
        mtu: mtu.inside(inside, { bridge, most: view.mtu }),
        device,
      });
    const local = this.#options.dataPathAddr;
    const nodeAddrs = view.far.map(({ nodeAddr }) => nodeAddr);
    const ways = { local, nodeAddrs, bridge, most: view.mtu };
    return wantedNetwork(view, { owner, local, mtu: await mtu.byWays(paths, ways) });
  }
}
