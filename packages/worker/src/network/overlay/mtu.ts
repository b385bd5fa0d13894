import { type Logger, messageOf } from '@swarmctl/shared/kit';
import type { RunCommand } from '../command.ts';
import { ContainerNamespace } from '../vip/namespace.ts';

// The MTU of a network in the devices of its containers: the engine gives them what it was told when the network was made, and later the way
// to other nodes may turn out to be narrower or wider.

export interface MtuModules {
  readonly log: Logger;
  readonly run: RunCommand;
  readonly namespaceOf?: (pid: number) => Promise<Pick<ContainerNamespace, 'run'> | undefined>;
}

interface Device {
  readonly ifname: string;
  readonly address: string;
  readonly mtu: number;
}

interface Container {
  readonly pid: number;
  /** By network id: the MAC of its device there. */
  readonly macs: ReadonlyMap<string, string>;
}

interface Size {
  readonly bridge: string;
  readonly mtu: number;
  /** What the engine gives new containers; undefined: unknown. */
  readonly given: number | undefined;
}

export class ContainerMtus {
  readonly #modules: MtuModules;
  readonly #sizes = new Map<string, Size>();
  readonly #containers = new Map<string, Container>();

  constructor(modules: MtuModules) {
    this.#modules = modules;
  }

  /** A network's devices carry this now; its containers follow. Never rejects. */
  async set(networkId: string, size: Size): Promise<void> {
    const old = this.#sizes.get(networkId);
    this.#sizes.set(networkId, size);
    // Those who were there before the first word of it are seen to when they join.
    if (!old || old.mtu === size.mtu) return;
    const ids = [...this.#containers].flatMap(([id, { macs }]) => (macs.has(networkId) ? [id] : []));
    await Promise.all([this.#widenPorts(size), ...ids.map((id) => this.#fit(id))]);
  }

  forget(networkId: string): void {
    this.#sizes.delete(networkId);
  }

  /** Resolves when its devices have the MTUs of its networks. Never rejects. */
  async joined(taskId: string, pid: number, macs: ReadonlyMap<string, string>): Promise<void> {
    this.#containers.set(taskId, { pid, macs });
    const sizes = [...macs.keys()].flatMap((id) => this.#sizes.get(id) ?? []);
    const other = sizes.filter(({ mtu, given }) => mtu !== given);
    if (other.length === 0) return;
    await Promise.all([this.#fit(taskId), ...other.map((size) => this.#widenPorts(size))]);
  }

  left(taskId: string): void {
    this.#containers.delete(taskId);
  }

  /** A bridge drops what is longer than the port that it goes to. */
  async #widenPorts({ bridge, mtu }: Size): Promise<void> {
    const { run } = this.#modules;
    try {
      for (const { ifname } of narrower(await run('ip', ['-j', 'link', 'show', 'master', bridge]), mtu))
        await run('ip', ['link', 'set', 'dev', ifname, 'mtu', String(mtu)]);
    } catch (error) {
      this.#modules.log.warn({ bridge, error: messageOf(error) }, 'the MTU of a bridge’s ports cannot be changed');
    }
  }

  async #fit(taskId: string): Promise<void> {
    const container = this.#containers.get(taskId);
    if (!container) return;
    const namespaceOf = this.#modules.namespaceOf ?? ContainerNamespace.of;
    try {
      const namespace = await namespaceOf(container.pid);
      const devices = devicesOf(await namespace?.run('ip', '-j', 'link'));
      for (const [networkId, mac] of container.macs) {
        const mtu = this.#sizes.get(networkId)?.mtu;
        const device = devices.find(({ address }) => address === mac);
        if (mtu === undefined || !device || device.mtu === mtu) continue;
        const result = await namespace?.run('ip', 'link', 'set', 'dev', device.ifname, 'mtu', String(mtu));
        if (result && result.code !== 0) throw new Error(result.stderr.trim());
      }
    } catch (error) {
      this.#modules.log.warn({ task: taskId, error: messageOf(error) }, 'the MTU of a container cannot be changed');
    }
  }
}

const devicesOf = (result: { readonly stdout: string } | undefined): Device[] =>
  JSON.parse(result?.stdout.trim() || '[]') as Device[];

const narrower = (result: { readonly stdout: string }, mtu: number): Device[] =>
  devicesOf(result).filter((device) => device.mtu < mtu);
