import { type Clock, type FrameStream, realClock } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage, Peer } from '@swarmctl/shared/wire';

// The answer of a manager that does not lead.

const lingerMs = 2_000;

/** Names the leader, then lets the agent close; cuts a stream that does not. */
export function redirectDispatch(
  frames: FrameStream<AgentMessage, ManagerMessage>,
  leader: Peer | undefined,
  managers: readonly Peer[],
  clock: Clock = realClock,
): void {
  frames.send({ type: 'redirect', managers, ...(leader && { leader }) });
  endGently(frames, clock);
}

/** What was sent still arrives; the stream is gone soon in any case. */
export function endGently(frames: Pick<FrameStream<never, never>, 'end' | 'destroy' | 'once'>, clock: Clock): void {
  const timer = clock.after(lingerMs, () => frames.destroy(), { unref: true });
  frames.once('close', () => timer.cancel());
  frames.end();
}
