import type { Duplex } from 'node:stream';
import { type Clock, FrameStream, messageOf, type Timer } from '@swarmctl/shared/kit';
import type { Task } from '@swarmctl/shared/model';
import type { AgentMessage, ManagerMessage } from '@swarmctl/shared/wire';
import { checkAgentMessage } from './agent-message.ts';
import { endGently } from './redirect.ts';

// One stream of one node's agent: reads its messages, and remembers what the agent was shown.

export type Hello = Extract<AgentMessage, { type: 'hello' }>;

export interface SessionEvents {
  hello(session: Session, hello: Hello): void;
  message(session: Session, message: Exclude<AgentMessage, Hello>): void;
  /** Once, whatever ended it. */
  closed(session: Session, error: Error | undefined): void;
}

/** Bytes on their way to an agent, above which it gets nothing new until they are through. */
const fullQueueBytes = 4 * 1024 * 1024;

export class Session {
  readonly id: string;
  readonly nodeId: string;
  /** Tasks as the agent was last shown them. */
  readonly shown = new Map<string, Task>();
  /** The revision that the agent was brought to, and the one that its node routes by. */
  sentRevision = 0;
  applied = 0;
  /** It said hello and was welcomed. */
  open = false;
  /** It missed an update, so that it needs all of it. */
  behind = false;
  readonly #frames: FrameStream<AgentMessage, ManagerMessage>;
  readonly #clock: Clock;
  readonly #events: SessionEvents;
  readonly #helloTimer: Timer;

  constructor(
    who: { id: string; nodeId: string; helloMs: number },
    stream: Duplex,
    modules: { clock: Clock; events: SessionEvents },
  ) {
    this.id = who.id;
    this.nodeId = who.nodeId;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#frames = new FrameStream(stream);
    this.#helloTimer = this.#clock.after(who.helloMs, () => this.destroy(new Error('no hello in time')), {
      unref: true,
    });
    this.#frames.on('message', (message) => this.#receive(message));
    this.#frames.once('close', (error) => {
      this.#helloTimer.cancel();
      this.open = false;
      this.#events.closed(this, error);
    });
  }

  get congested(): boolean {
    return this.#frames.queuedBytes > fullQueueBytes;
  }

  send(message: ManagerMessage): void {
    this.#frames.send(message);
  }

  /** Says `last`, and ends. */
  close(last?: ManagerMessage): void {
    if (last) this.#frames.send(last);
    this.open = false;
    endGently(this.#frames, this.#clock);
  }

  destroy(error?: Error): void {
    this.open = false;
    this.#frames.destroy(error);
  }

  #receive(value: unknown): void {
    try {
      const message = checkAgentMessage(value);
      if (message.type === 'hello') this.#hello(message);
      else if (this.open) this.#events.message(this, message);
    } catch (error) {
      this.#frames.send({ type: 'error', code: 'invalid-argument', message: messageOf(error) });
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #hello(message: Hello): void {
    if (this.open) throw new Error('a second hello');
    this.#helloTimer.cancel();
    this.#events.hello(this, message);
  }
}
