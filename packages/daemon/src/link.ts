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
import type { EngineWanted, Peer } from '@swarmctl/shared/wire';
import type { Link, LinkStream } from '@swarmctl/worker';
import { defaultPort } from './config.ts';
import { firstToAnswer } from './first-to-answer.ts';
import type { ManagerList } from './manager-list.ts';

// The direct carrier of the worker link: frames over mutual TLS to whichever manager answers first, the one that led last with a head start.

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
    const { managers, clock, random } = this.#modules;
    const peers = managers.inTurn(random);
    if (peers.length === 0) throw new ClusterError('unavailable', 'no manager is known');
    const socket = await firstToAnswer(peers, {
      ask: (peer, isOver) => this.#dial(peer, isOver),
      discard: (late) => late.destroy(),
      clock,
      signal,
    });
    return new FrameStream(socket);
  }

  /** A stream to the manager that asked for one of the engine protocol. */
  async openEngine({ ticket, manager }: EngineWanted, signal: AbortSignal): Promise<Awaited<ReturnType<typeof dial>>> {
    const { identity, clock } = this.#modules;
    const socket = await dial({
      ...parseAddress(manager.addr, 'manager address', defaultPort),
      protocol: 'engine',
      identity: identity(),
      expect: { nodeId: manager.nodeId },
      clock,
      timeoutMs: dialTimeoutMs,
      signal,
    });
    socket.write(ticket);
    return socket;
  }

  async #dial({ addr, nodeId }: Peer, signal: AbortSignal): Promise<Awaited<ReturnType<typeof dial>>> {
    const { identity, clock, log } = this.#modules;
    try {
      return await dial({
        ...parseAddress(addr, 'manager address', defaultPort),
        protocol: 'dispatch',
        identity: identity(),
        expect: { role: 'manager', ...(nodeId && { nodeId }) },
        clock,
        timeoutMs: dialTimeoutMs,
        signal,
      });
    } catch (error) {
      if (!signal.aborted) log.debug({ addr, error: messageOf(error) }, 'a manager did not answer');
      throw error;
    }
  }

  /** What a manager said of the managers. */
  learned(peers: readonly Peer[], leader: Peer | undefined): void {
    this.#modules.managers.update(peers);
    if (leader) this.#modules.managers.prefer(leader);
  }
}
