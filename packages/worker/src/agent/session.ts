import type { Clock, Timer } from '@swarmctl/shared/kit';
import { isClusterError, messageOf } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import type { LinkStream } from './link.ts';

// One connection to a manager, from the hello to its end: heartbeats out, a watch for a manager that has gone without a word.

export type SessionEnd =
  | { readonly type: 'closed'; readonly reason: string }
  | Extract<ManagerMessage, { type: 'redirect' } | { type: 'removed' }>;

export interface SessionModules {
  readonly clock: Clock;
  /** The revision that this node routes by. */
  readonly applied: () => number;
  readonly message: (message: ManagerMessage) => void;
}

const missedBeats = 3;
const defaultHeartbeatMs = 1_000;
const allowanceMs = 250;
/** So long a manager in doubt has to say something. */
const doubtMs = 2_000;

export class AgentSession {
  readonly #stream: LinkStream;
  readonly #modules: SessionModules;
  #heartbeatMs = defaultHeartbeatMs;
  #heard: number;
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #end: SessionEnd | undefined;
  readonly ended: Promise<SessionEnd>;

  constructor(stream: LinkStream, hello: Extract<AgentMessage, { type: 'hello' }>, modules: SessionModules) {
    this.#stream = stream;
    this.#modules = modules;
    this.#heard = modules.clock.monotonic();
    this.ended = new Promise((resolve) => {
      const closed = (error?: Error) => {
        this.#timer?.cancel();
        resolve(
          this.#end ?? { type: 'closed', reason: error ? messageOf(error) : 'the manager closed the connection' },
        );
      };
      if (stream.closed) closed();
      else stream.once('close', closed);
    });
    stream.on('message', (message) => this.#receive(message));
    stream.send(hello);
    this.#beat();
  }

  get open(): boolean {
    return this.#end === undefined && !this.#stream.closed;
  }

  send(message: AgentMessage): void {
    this.#stream.send(message);
  }

  close(reason: string): void {
    this.#end ??= { type: 'closed', reason };
    this.#stream.destroy();
  }

  /** There is reason to believe that the manager is gone: it is asked at once, and has to answer soon. */
  doubt(): void {
    if (!this.open) return;
    this.#doubtedAt = this.#modules.clock.monotonic();
    this.#beatNow();
  }

  #receive(message: ManagerMessage): void {
    if (!this.open) return;
    this.#heard = this.#modules.clock.monotonic();
    if (message.type === 'redirect' || message.type === 'removed') {
      this.#end = message;
      this.#stream.destroy();
      return;
    }
    if (message.type === 'welcome') this.#heartbeatMs = message.heartbeatMs;
    if (message.type === 'heartbeat-period') this.#changePeriod(message.heartbeatMs);
    try {
      this.#modules.message(message);
    } catch (error) {
      this.close(`${isClusterError(error) ? '' : 'a message could not be handled: '}${messageOf(error)}`);
    }
  }

  #changePeriod(heartbeatMs: number): void {
    this.#heartbeatMs = heartbeatMs;
    this.#beatNow();
  }

  #beatNow(): void {
    this.#timer?.cancel();
    this.send({ type: 'heartbeat', revision: this.#modules.applied() });
    this.#beat();
  }

  /** When it will have been silent for too long, on the monotonic clock. */
  get #givenUpAt(): number {
    const usually = this.#heard + this.#heartbeatMs * missedBeats + allowanceMs;
    return this.#heard <= this.#doubtedAt ? Math.min(usually, this.#doubtedAt + doubtMs) : usually;
  }

  /** Also when the manager has been silent for long enough: the next one does not wait for longer. */
  #beat(): void {
    const { clock } = this.#modules;
    const untilGivenUp = () => this.#givenUpAt - clock.monotonic();
    this.#timer = clock.after(
      Math.max(1, Math.min(this.#heartbeatMs, untilGivenUp())),
      () => {
        if (untilGivenUp() <= 0) this.close('the manager is silent');
        else this.#beatNow();
      },
      { unref: true },
    );
  }
}
