import { type Clock, delay, type Logger, messageOf, type Random } from '@swarmctl/shared/kit';
import type { AgentMessage, ManagerMessage, Peer } from '@swarmctl/shared/wire';
import type { Link } from './link.ts';
import { AgentSession, type SessionEnd } from './session.ts';

// Keeps a session with the leading manager, one after the other: at once where a redirect points, else a little later each time.

export interface ConnectorModules {
  readonly link: Link;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly hello: () => Extract<AgentMessage, { type: 'hello' }>;
  /** The revision that this node routes by. */
  readonly applied: () => number;
  readonly message: (message: ManagerMessage) => void;
  readonly opened: (session: AgentSession) => void;
  /** True when the session had served its purpose: a manager had told all. */
  readonly closed: () => boolean;
  readonly managers: (managers: readonly Peer[]) => void;
  readonly removed: (reason: string) => void;
  /** The run is to end; the session's last words. */
  readonly goodbye: (session: AgentSession) => Promise<void>;
}

const firstBackoffMs = 100;
const mostBackoffMs = 8_000;
/** Redirects in a row that are followed at once. */
const quickRedirects = 3;

export class Connector {
  readonly #modules: ConnectorModules;
  #failures = 0;
  #redirects = 0;

  constructor(modules: ConnectorModules) {
    this.#modules = modules;
  }

  async run(signal: AbortSignal): Promise<'stopped' | 'removed'> {
    const { log, removed } = this.#modules;
    while (!signal.aborted) {
      const end = await this.#session(signal);
      if (this.#modules.closed()) {
        this.#failures = 0;
        this.#redirects = 0;
      }
      if (signal.aborted) break;
      if (end.type === 'removed') {
        removed(end.reason);
        return 'removed';
      }
      if (end.type === 'closed') log.info({ reason: end.reason }, 'no manager');
      else if (this.#follow(end)) continue;
      await this.#backOff(signal);
    }
    return 'stopped';
  }

  async #session(signal: AbortSignal): Promise<SessionEnd> {
    const { link, clock, hello, applied, message, opened, goodbye } = this.#modules;
    try {
      const session = new AgentSession(await link.connect(signal), hello(), { clock, applied, message });
      opened(session);
      const onAbort = () => void goodbye(session);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      const end = await session.ended;
      signal.removeEventListener('abort', onAbort);
      return end;
    } catch (error) {
      return { type: 'closed', reason: messageOf(error) };
    }
  }

  /** True when the way that the manager named is worth trying at once. */
  #follow({ managers, leader }: Extract<SessionEnd, { type: 'redirect' }>): boolean {
    this.#failures = 0;
    this.#modules.link.learned?.(managers, leader);
    if (managers.length > 0) this.#modules.managers(managers);
    return leader !== undefined && this.#redirects++ < quickRedirects;
  }

  async #backOff(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#modules;
    const ms = Math.min(mostBackoffMs, firstBackoffMs * 2 ** Math.min(this.#failures++, 10));
    await delay(clock, ms * (0.5 + random() / 2), signal).catch(() => undefined);
  }
}
