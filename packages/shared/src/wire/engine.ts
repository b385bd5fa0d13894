import type { Peer } from './dispatch.ts';

// The engine protocol (ALPN `swarm-engine/1`): a node lets a manager at its engine. The node dials, since only managers have an open port, and since it
// then chooses itself whom it lets in: the manager that asked over the node's session. The stream begins with the ticket that came with the asking;
// after it, HTTP/1.1 whose client is the manager. What is served is the worker's to say (engine-door).

/** Bytes: an id. */
export const engineTicketBytes = 25;

/** Asks a node for a stream of the engine protocol. */
export interface EngineWanted {
  readonly type: 'engine-wanted';
  readonly ticket: string;
  /** Who asks, and dialled where. */
  readonly manager: Peer;
}
