import type { IncomingMessage } from 'node:http';
import { linesOf, messageOf } from '@swarmctl/shared/kit';
import type { FastifyReply } from 'fastify';
import { drained } from '../stream.ts';
import { type Away, type Engine, hostnameOf } from './engines.ts';
import { textOf } from './over-stream.ts';

// What engines say while they work, line by line, as one answer to the client.

/** A line; those of one `id` replace each other on a terminal. */
export interface Line {
  readonly id?: string;
  readonly status?: string;
  readonly stream?: string;
  /** Of BuildKit's lines, a text as well. */
  readonly aux?: { readonly ID?: string };
  readonly error?: string;
  readonly errorDetail?: { readonly code?: number; readonly message: string };
}

export interface Failure extends Away {
  /** Of the answer, if that was all. */
  readonly status: number;
  /** That a command of a build ended with. */
  readonly code?: number | undefined;
}

/** Who is told of work. */
export interface Telling {
  /** Aborts when nobody listens any more. */
  readonly signal: AbortSignal;
  begin(): void;
  say(line: Line): void;
  /** Resolves when what was said has been taken, or nobody listens any more. */
  drained(): Promise<void>;
}

/** An engine's own are a few hundred; BuildKit puts what a command said lately into one, up to 1 MiB before it is coded. */
const mostLineBytes = 8 << 20;

export class Progress implements Telling {
  readonly #reply: FastifyReply;

  readonly signal: AbortSignal;

  constructor(reply: FastifyReply) {
    this.#reply = reply;
    this.signal = untilGone(reply);
  }

  /** Until an engine has begun there may still be an answer of another status. */
  begin(): void {
    const reply = this.#reply;
    if (reply.sent) return;
    const own = Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]);
    reply.hijack();
    reply.raw.writeHead(200, { ...Object.fromEntries(own), 'content-type': 'application/json' });
    reply.raw.flushHeaders();
  }

  say(line: Line): void {
    this.#reply.raw.write(`${JSON.stringify(line)}\r\n`);
  }

  async drained(): Promise<void> {
    if (this.#reply.raw.writableNeedDrain) await drained(this.#reply, this.signal);
  }

  /** The last that is said: who was left out, and what failed, if anything did. */
  end(failures: readonly Failure[], away: readonly Away[] = []): FastifyReply {
    const reply = this.#reply;
    const [first] = failures;
    const message = failures.map(({ node, reason }) => `${node}: ${reason}`).join('; ');
    if (first && !reply.sent) return reply.status(first.status).send({ message });
    this.begin();
    for (const { node, reason } of away) this.say({ status: `${node}: left out, ${reason}` });
    if (first) this.say({ errorDetail: { ...(first.code && { code: first.code }), message }, error: message });
    reply.raw.end();
    return reply;
  }
}

/** Aborts when the client has gone. */
export function untilGone(reply: FastifyReply): AbortSignal {
  const abort = new AbortController();
  reply.raw.once('close', () => abort.abort());
  return abort.signal;
}

/** The work on each of them, all at once; what failed. */
export async function failuresOf<E extends Pick<Engine, 'node'>>(
  engines: readonly E[],
  work: (engine: E) => Promise<void>,
): Promise<readonly Failure[]> {
  const failures = engines.map(async (engine) => {
    try {
      await work(engine);
      return [];
    } catch (error) {
      const { status = 503, code } = error as { readonly status?: number; readonly code?: unknown };
      const exit = typeof code === 'number' ? code : undefined;
      return [{ node: hostnameOf(engine.node), reason: messageOf(error), status, code: exit }];
    }
  });
  return (await Promise.all(failures)).flat();
}

/** Rejects with what the engine said, its `code`, and its `status` if it began nothing. */
export async function readProgress(answer: IncomingMessage, tell: Omit<Telling, 'signal'>): Promise<void> {
  if (answer.statusCode !== 200) {
    throw Object.assign(new Error(messageIn(await textOf(answer))), { status: answer.statusCode });
  }
  tell.begin();
  let failure: Error | undefined;
  for await (const line of linesOf(answer, { maxBytes: mostLineBytes, unended: 'keep' })) {
    const said = JSON.parse(line) as Line;
    if (said.error !== undefined) failure = Object.assign(new Error(said.error), { code: said.errorDetail?.code });
    else tell.say(said);
    // Who listens slowly slows the engine, and fills no memory here.
    await tell.drained();
  }
  if (failure) throw failure;
}

function messageIn(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text;
  }
}

/** Where several engines work at once, their progress is told apart by the node. */
export const prefixOf = (engine: Pick<Engine, 'node'>, engines: readonly unknown[]): string =>
  engines.length > 1 ? `${hostnameOf(engine.node)}: ` : '';

export const withPrefix = (line: Line, prefix: string): Line =>
  line.id === undefined ? { ...line, status: `${prefix}${line.status ?? ''}` } : { ...line, id: `${prefix}${line.id}` };
