import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '@swarmctl/shared/kit';
import type { Engine, EngineRoom } from './engines.ts';
import { requestOver, textOf } from './over-stream.ts';
import { type Failure, failuresOf, prefixOf, readProgress, type Telling, withPrefix } from './progress.ts';

// Archives of images on their way to several engines at once: from the client, or from the engine that has made one, so that the cluster has one image of one
// id wherever a container goes.

type Dialling = Pick<EngineRoom, 'dial' | 'clock'>;
type At = Pick<Engine, 'node'>;

/** Of an image by its name or id, as an engine knows it. */
export const pathOf = (name: string): string =>
  `/images/${name.split('/').map(encodeURIComponent).join('/').replace(/%3A/g, ':').replace(/%40/g, '@')}`;

/** Who takes nothing for so long is given up. */
const stallMs = 120_000;

/** Loads the archive into all of them, as fast as the slowest takes it. Never rejects. */
export async function loadInto(
  room: Dialling,
  engines: readonly At[],
  archive: Readable,
  { path, headers }: { readonly path: string; readonly headers: Readonly<Record<string, string>> },
  tell: Telling,
): Promise<readonly Failure[]> {
  const answers = new Map<At, Promise<IncomingMessage>>();
  const bodies: ClientRequest[] = [];
  const dialled = await failuresOf(engines, async (engine) => {
    const stream = await room.dial(engine.node.ID);
    const asked = { method: 'POST', path, headers, signal: tell.signal };
    const { outgoing, answer } = requestOver(stream, asked);
    answer.catch(() => {});
    answers.set(engine, answer);
    bodies.push(outgoing);
  });
  void feed(archive, bodies, room.clock);
  // All say the same of what they have loaded.
  const seen = new Set<string>();
  const loaded = await failuresOf([...answers.keys()], async (engine) => {
    const prefix = prefixOf(engine, engines);
    const say: Telling['say'] = (line) => {
      if (line.stream === undefined) tell.say(withPrefix(line, prefix));
      else if (!seen.has(line.stream)) tell.say(line);
      if (line.stream !== undefined) seen.add(line.stream);
    };
    const answer = (await answers.get(engine)) as IncomingMessage;
    await readProgress(answer, { begin: () => tell.begin(), say, drained: () => tell.drained() });
  });
  return [...dialled, ...loaded];
}

/** Copies images from the engine that has them to the others. Never rejects. */
export async function copyImages(
  room: Dialling,
  from: At,
  to: readonly At[],
  names: readonly string[],
  tell: Telling,
): Promise<readonly Failure[]> {
  if (to.length === 0) return [];
  const search = new URLSearchParams(names.map((name): [string, string] => ['names', name]));
  let archive: IncomingMessage | undefined;
  const failures = await failuresOf([from], async () => {
    const stream = await room.dial(from.node.ID);
    const { outgoing, answer } = requestOver(stream, { path: `/images/get?${search}`, signal: tell.signal });
    outgoing.end();
    archive = await answer;
    if (archive.statusCode !== 200) throw new Error(`it does not give its image: ${await textOf(archive)}`);
  });
  if (failures.length > 0 || !archive) return failures;
  const headers = { 'content-type': 'application/x-tar' };
  return loadInto(room, to, archive, { path: '/images/load', headers }, tell);
}

/** Passes what comes on to all, and ends them. Never rejects: who fails says so in its answer. */
export async function feed(source: Readable, targets: readonly Writable[], clock: Clock): Promise<void> {
  const live = new Set(targets);
  if (live.size === 0) return void source.resume();
  for (const target of targets) target.once('close', () => live.delete(target));
  try {
    // Who has sent it is still to read the answer.
    for await (const chunk of source.iterator({ destroyOnReturn: false })) {
      const waiting = [...live].filter((target) => !target.write(chunk));
      await Promise.all(waiting.map((target) => drained(target, clock)));
      if (live.size === 0) break;
    }
    for (const target of live) target.end();
    source.resume();
  } catch (error) {
    for (const target of live) target.destroy(error as Error);
  }
}

const drained = (target: Writable, clock: Clock): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      timer.cancel();
      target.off('drain', done).off('close', done);
      resolve();
    };
    const timer = clock.after(stallMs, () => target.destroy(new Error(`it took nothing for ${stallMs / 1000} s`)));
    target.once('drain', done).once('close', done);
    if (target.destroyed) done();
  });
