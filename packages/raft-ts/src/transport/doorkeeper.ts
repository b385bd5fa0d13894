import type { Channel } from '../host/types.ts';
import type { Connection } from './connection.ts';
import { encodeFrame, type Frame, frameKind, removed } from './frames.ts';
import { checkHello, encodeHello, type Introduction, otherLog } from './hello.ts';

// Lets nothing of a stream in before the peer has said who it is, and has the log that it is known by. A former member is told so in place of a hello:
// also one that takes this member for another, which had its address before.

export interface DoorkeeperEnv extends Introduction {
  readonly peer: number;
  readonly channel: Channel;
  readonly maxHeld: number;
  readonly isRemoved: (peer: number) => boolean;
  /** Called once, when the peer is known and its stream still open. */
  readonly open: (connection: Connection) => void;
  readonly frame: (frame: Frame, connection: Connection) => void;
}

export class Doorkeeper {
  readonly #env: DoorkeeperEnv;
  #state: 'greeting' | 'checking' | 'open' = 'greeting';
  /** What comes while the peer's log is being noted; also of a stream that has ended since. */
  readonly #held: Frame[] = [];

  constructor(env: DoorkeeperEnv) {
    this.#env = env;
  }

  greet(connection: Connection): void {
    const { peer, channel } = this.#env;
    connection.send(encodeFrame(frameKind.hello, encodeHello(this.#env, peer, channel)));
  }

  /** What it throws closes the connection. `greets`: the peer's hello is to be answered. */
  take(frame: Frame, connection: Connection, greets: boolean): void {
    if (this.#state === 'open') {
      this.#env.frame(frame, connection);
    } else if (this.#state === 'checking') {
      // Beyond the limit they are lost, as messages may be.
      if (this.#held.length < this.#env.maxHeld) this.#held.push({ kind: frame.kind, body: Buffer.from(frame.body) });
    } else if (greets && this.#env.isRemoved(this.#env.peer)) {
      connection.send(removed);
      connection.finish();
    } else if (!greets && frame.kind === frameKind.removed) {
      this.#env.frame(frame, connection);
    } else {
      this.#state = 'checking';
      const known = checkHello(frame, this.#env.peer, this.#env.channel, this.#env);
      if (greets) this.greet(connection);
      if (typeof known === 'boolean') {
        this.#checked(known, connection);
        return;
      }
      connection.flush();
      known
        .then((result) => this.#checked(result, connection))
        .catch((error: unknown) => connection.close(error instanceof Error ? error : new Error(String(error))));
    }
  }

  #checked(known: boolean, connection: Connection): void {
    if (!known) {
      connection.send(encodeFrame(frameKind.otherLog, new Uint8Array(0)));
      connection.finish(otherLog(this.#env.peer));
      return;
    }
    this.#state = 'open';
    if (connection.open) this.#env.open(connection);
    for (const frame of this.#held.splice(0)) this.#env.frame(frame, connection);
  }
}
