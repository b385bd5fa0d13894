import type { Duplex } from 'node:stream';
import { type Clock, ClusterError, type NewId } from '@swarmctl/shared/kit';
import { type EngineWanted, engineTicketBytes, type Peer } from '@swarmctl/shared/wire';

// Streams to the nodes' engines, which the nodes open when they are asked to over their session. A node without a session is away: that is known at once.

export interface EngineStreamsModules {
  /** False: the node has no session. */
  readonly tell: (nodeId: string, message: EngineWanted) => boolean;
  /** This manager, as nodes reach it. */
  readonly self: Peer;
  readonly newId: NewId;
  readonly clock: Clock;
}

interface Waiting {
  readonly nodeId: string;
  readonly resolve: (stream: Duplex) => void;
}

const answerMs = 5_000;

export class EngineStreams {
  readonly #modules: EngineStreamsModules;
  readonly #waiting = new Map<string, Waiting>();

  constructor(modules: EngineStreamsModules) {
    this.#modules = modules;
  }

  /** Rejects `unavailable` when the node is away or does not come. */
  open(nodeId: string): Promise<Duplex> {
    const { tell, self, newId, clock } = this.#modules;
    const ticket = newId();
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        this.#waiting.delete(ticket);
        reject(new ClusterError('unavailable', why));
      };
      if (!tell(nodeId, { type: 'engine-wanted', ticket, manager: self })) return fail('the node is away');
      const timer = clock.after(answerMs, () => fail('the node did not let us at its engine in time'));
      const take = (stream: Duplex) => {
        timer.cancel();
        resolve(stream);
      };
      this.#waiting.set(ticket, { nodeId, resolve: take });
      return undefined;
    });
  }

  /** A stream whose other end is the node `nodeId`, by its certificate. */
  accept(nodeId: string, stream: Duplex): void {
    stream.on('error', () => stream.destroy());
    const timer = this.#modules.clock.after(answerMs, () => stream.destroy());
    stream.once('close', () => timer.cancel());
    const attempt = () => {
      const bytes = stream.read(engineTicketBytes) as Buffer | null;
      if (!bytes) return;
      stream.off('readable', attempt);
      timer.cancel();
      const ticket = bytes.toString('latin1');
      const waiting = this.#waiting.get(ticket);
      // Nobody waits for it any more, or it is another node's.
      if (waiting?.nodeId !== nodeId) return void stream.destroy();
      this.#waiting.delete(ticket);
      waiting.resolve(stream);
    };
    stream.on('readable', attempt);
    attempt();
  }
}
