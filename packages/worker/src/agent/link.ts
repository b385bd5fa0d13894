import type { Duplex } from 'node:stream';
import { ClusterError, FrameStream, messageOf } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage, Peer } from '@swarmctl/shared/wire';

// How an agent gets to the leading manager.

export type LinkStream = FrameStream<ManagerMessage, AgentMessage>;

export interface Link {
  /** A stream to a manager that is likely to lead. Rejects when none answers. */
  connect(signal: AbortSignal): Promise<LinkStream>;
  /** What a manager said: all managers, and the leader if it is known. */
  learned(managers: readonly Peer[], leader: Peer | undefined): void;
}

export interface DirectLinkModules {
  /** Managers known from the last run. */
  readonly managers: readonly Peer[];
  /** An authenticated dispatch stream. */
  readonly dial: (peer: Peer, signal: AbortSignal) => Promise<Duplex>;
}

/** Dials managers itself: the one that was named leader first, then in turn. */
export function directLink(modules: DirectLinkModules): Link {
  let managers = [...modules.managers];
  let leader: Peer | undefined;
  let turn = 0;
  return {
    async connect(signal) {
      const first = leader;
      leader = undefined;
      const others = managers.filter((peer) => peer.addr !== first?.addr);
      const start = others.length > 0 ? turn++ % others.length : 0;
      const candidates = [...(first ? [first] : []), ...others.slice(start), ...others.slice(0, start)];
      const problems: string[] = [];
      for (const peer of candidates) {
        try {
          return new FrameStream<ManagerMessage, AgentMessage>(await modules.dial(peer, signal));
        } catch (error) {
          if (signal.aborted) throw error;
          problems.push(`${peer.addr}: ${messageOf(error)}`);
        }
      }
      throw new ClusterError('unavailable', `no manager can be reached (${problems.join('; ') || 'none is known'})`);
    },
    learned(known, named) {
      if (known.length > 0) managers = [...known];
      leader = named;
    },
  };
}
