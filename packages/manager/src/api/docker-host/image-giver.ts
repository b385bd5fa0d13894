import type { Duplex } from 'node:stream';
import { type Clock, inTime, type Logger, messageOf } from '@swarmctl/shared/kit';
import { type Node, parseJson, type Task, wantsLife, withTag } from '@swarmctl/shared/model';
import type { View } from '../../store/types.ts';
import { Turns } from '../turns.ts';
import { hasEngine, hostnameOf } from './engines.ts';
import { copyImages, pathOf } from './image-archives.ts';
import { answerOver, textOf } from './over-stream.ts';

// An image that no registry gives goes to the node whose task needs it: from a manager's engine, where all that is built, loaded, imported or committed
// through the cluster is. Workers are no source: who takes one over has no say in what the others run.

export interface ImageGiverModules {
  readonly view: () => View;
  /** Rejects `unavailable` when the node is away. */
  readonly openEngine: (nodeId: string) => Promise<Duplex>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** An image as an engine describes it. */
export interface Held {
  readonly node: Node;
  readonly Id: string;
  /** RFC 3339: when it was built. */
  readonly Created?: string;
}

const lookMs = 10_000;
const copyMs = 30 * 60_000;

/** What a name means where engines differ: what most of them have, then what was built last. */
export function meant(all: readonly Held[]): Held | undefined {
  const votes = (one: Held) => all.filter(({ Id }) => Id === one.Id).length;
  const builtAt = ({ Created = '' }: Held) => Date.parse(Created) || 0;
  const [best] = [...all].sort((a, b) => votes(b) - votes(a) || builtAt(b) - builtAt(a));
  return best;
}

export class ImageGiver {
  readonly #modules: ImageGiverModules;
  readonly #giving = new Map<string, Promise<void>>();
  /** An engine reads out one image at a time, by its node. */
  readonly #turns = new Map<string, Turns>();

  constructor(modules: ImageGiverModules) {
    this.#modules = modules;
  }

  /** Loads the image of a task into the engine of its node. Rejects with why it cannot be given; with an empty text when no manager has it. */
  async give(nodeId: string, taskId: string): Promise<void> {
    const { node, image } = this.#wanted(nodeId, taskId);
    return this.bring(node, image);
  }

  /** The same of whatever image. */
  async bring(to: Node, name: string): Promise<void> {
    // Content that a digest names comes from its registry or not at all.
    if (name.includes('@')) throw new Error('');
    const image = withTag(name);
    const key = `${to.ID} ${image}`;
    let giving = this.#giving.get(key);
    if (!giving) {
      giving = this.#give(to, image).finally(() => this.#giving.delete(key));
      this.#giving.set(key, giving);
    }
    return giving;
  }

  /** A node gets images of its own tasks alone. */
  #wanted(nodeId: string, taskId: string): { readonly node: Node; readonly image: string } {
    const view = this.#modules.view();
    const node = view.get('nodes', nodeId);
    const task = view.get('tasks', taskId);
    const image = task?.NodeID === nodeId && wantsLife(task.DesiredState) ? imageOf(task) : undefined;
    if (!node || image === undefined) throw new Error('it is not to run this task');
    return { node, image };
  }

  async #give(to: Node, image: string): Promise<void> {
    const managers = this.#modules
      .view()
      .list('nodes')
      .filter((node) => node.ManagerStatus && node.ID !== to.ID && hasEngine(node));
    const silent: string[] = [];
    const answers = managers.map(async (node) => {
      try {
        return await this.#look(node, image);
      } catch (error) {
        silent.push(`${hostnameOf(node)}: ${messageOf(error)}`);
        return undefined;
      }
    });
    const from = meant((await Promise.all(answers)).flatMap((held) => held ?? []));
    if (!from)
      throw new Error(silent.length > 0 ? `managers that may have it do not say so: ${silent.join('; ')}` : '');
    const turns = this.#turns.get(from.node.ID) ?? new Turns();
    this.#turns.set(from.node.ID, turns);
    await turns.take(() => this.#copy(from, to, image));
  }

  async #copy(from: Held, to: Node, image: string): Promise<void> {
    const { clock, log, openEngine } = this.#modules;
    const words = { image, id: from.Id, node: to.ID, from: from.node.ID };
    const limit = { what: `the image from ${hostnameOf(from.node)}`, ms: copyMs };
    const failures = await inTime(clock, limit, (signal) => {
      const quiet = { signal, begin: () => {}, say: () => {}, drained: async () => {} };
      return copyImages({ dial: openEngine, clock }, from, [{ node: to }], [image], quiet);
    });
    const [failure] = failures;
    if (failure) throw new Error(`the cluster's could not be copied: ${failure.node}: ${failure.reason}`);
    const held = await this.#look(to, image);
    if (held?.Id !== from.Id) {
      await this.#ask(to, 'DELETE', image);
      throw new Error(`the cluster's is ${from.Id}, and what came is ${held?.Id ?? 'no image'}`);
    }
    log.info(words, 'image given');
  }

  /** Undefined: the engine does not have it. */
  async #look(node: Node, image: string): Promise<Held | undefined> {
    const { status, text } = await this.#ask(node, 'GET', image, '/json');
    if (status === 404) return undefined;
    if (status !== 200) throw new Error(text);
    return { ...(parseJson(Buffer.from(text)) as Omit<Held, 'node'>), node };
  }

  #ask(node: Node, method: string, image: string, verb = ''): Promise<{ status: number; text: string }> {
    const { clock, openEngine } = this.#modules;
    return inTime(clock, { what: 'its engine', ms: lookMs }, async (signal) => {
      const path = `${pathOf(image)}${verb}`;
      const answer = await answerOver(await openEngine(node.ID), { method, path, signal });
      return { status: answer.statusCode ?? 502, text: await textOf(answer) };
    });
  }
}

const imageOf = ({ Spec }: Task): string | undefined => Spec.ContainerSpec?.Image;
