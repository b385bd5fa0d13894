import { inTime, messageOf } from '@swarmctl/shared/kit';
import { parseJson } from '@swarmctl/shared/model';
import type { FastifyRequest } from 'fastify';
import type { ApiContext } from '../context.ts';
import { forwardedBy } from '../forward.ts';
import type { ManagerAccess } from '../ports.ts';
import { type EngineCounts, type EngineRoom, sumOfCounts } from './engines.ts';
import { answerOver, textOf } from './over-stream.ts';

// How many containers and images the cluster has, as `docker info` shows it: of the engines that say so at once. Never an error, and at most seconds old; only the
// leader can ask the nodes.

const freshMs = 5_000;
const leaderMs = 2_000;
const none = sumOfCounts([]);

export class ContainerCounts {
  readonly #context: ApiContext;
  readonly #room: EngineRoom;
  #known: { readonly counts: Promise<EngineCounts>; readonly at: number } | undefined;

  constructor(context: ApiContext, room: EngineRoom) {
    this.#context = context;
    this.#room = room;
  }

  /** For an answer to that request. */
  async of(request: FastifyRequest): Promise<EngineCounts> {
    const manager = this.#context.local.manager();
    if (!manager) return none;
    if (manager.isLeader()) return this.#room.counts();
    if (request.headers[forwardedBy] !== undefined) return none;
    const now = this.#context.clock.monotonic();
    if (!this.#known || now - this.#known.at >= freshMs) {
      this.#known = { counts: this.#askLeader(manager), at: now };
    }
    return this.#known.counts;
  }

  async #askLeader(manager: ManagerAccess): Promise<EngineCounts> {
    const { clock, local, log } = this.#context;
    try {
      return await inTime(clock, { what: 'the leader’s answer', ms: leaderMs }, async (signal) => {
        const stream = await manager.dialLeader(signal);
        if (stream === 'here') return await this.#room.counts();
        const headers = { [forwardedBy]: local.info().nodeId, connection: 'close' };
        const text = await textOf(await answerOver(stream, { path: '/info', headers, signal }));
        return sumOfCounts([parseJson(Buffer.from(text)) as EngineCounts]);
      });
    } catch (error) {
      log.debug({ error: messageOf(error) }, 'the leader did not say how many containers there are');
      return none;
    }
  }
}
