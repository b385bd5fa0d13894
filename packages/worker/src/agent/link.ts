import type { FrameStream } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage, Peer } from '@swarmctl/shared/wire';

// How an agent gets to the leading manager. Whoever carries the frames knows the managers, and asks the one that leads first.

export type LinkStream = FrameStream<ManagerMessage, AgentMessage>;

export interface Link {
  /** A stream to a manager that is likely to lead. Rejects when none answers. */
  connect(signal: AbortSignal): Promise<LinkStream>;
  /** What a manager said: all managers, and the leader if it is known. For links that do not read the messages themselves. */
  learned?(managers: readonly Peer[], leader: Peer | undefined): void;
}
