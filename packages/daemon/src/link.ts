import {
  type Clock,
  ClusterError,
  dial,
  FrameStream,
  type Identity,
  type Logger,
  messageOf,
  parseAddress,
  type Random,
} from '@swarmctl/shared/kit';
import type { Peer } from '@swarmctl/shared/wire';
import type { Link, LinkStream } from '@swarmctl/worker';
import { defaultPort } from './config.ts';
import type { ManagerList } from './manager-list.ts';

// The direct carrier of the worker link: frames over mutual TLS to whichever manager answers, the one that led last first.

export interface LinkModules {
  readonly identity: () => Identity;
  readonly managers: ManagerList;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const dialTimeoutMs = 2_000;

export class DirectLink implements Link {
  readonly #modules: LinkModules;

  constructor(modules: LinkModules) {
    this.#modules = modules;
  }

  /** A stream to a manager; rejects when none answers. */
  async connect(signal: AbortSignal): Promise<LinkStream> {
    const { identity, managers, clock, random, log } = this.#modules;
    let last: unknown = new ClusterError('unavailable', 'no manager is known');
    for (const peer of managers.inTurn(random)) {
      try {
        const { host, port } = parseAddress(peer.addr, 'manager address', defaultPort);
        const socket = await dial({
          host,
          port,
          protocol: 'dispatch',
          identity: identity(),
          expect: { role: 'manager', ...(peer.nodeId && { nodeId: peer.nodeId }) },
          clock,
          timeoutMs: dialTimeoutMs,
          signal,
        });
        return new FrameStream(socket);
      } catch (error) {
        if (signal.aborted) throw error;
        log.debug({ addr: peer.addr, error: messageOf(error) }, 'a manager did not answer');
        last = error;
      }
    }
    throw last;
  }

  /** What a manager said of the managers. */
  learned(peers: readonly Peer[], leader: Peer | undefined): void {
    this.#modules.managers.update(peers);
    if (leader) this.#modules.managers.prefer(leader);
  }
}
