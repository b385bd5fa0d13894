import { messageOf } from '@swarmctl/shared/kit';
import type { Node } from '@swarmctl/shared/model';
import { Turns } from '../turns.ts';
import type { EngineRoom } from './engines.ts';
import { copyImages } from './image-archives.ts';
import type { ImageRow } from './image-routes.ts';

// Images that were made in conversations which cannot be looked into: what the engine has at the end of one and had not before goes to the other nodes.

/** Ids of images by name; one without a name by its id. */
type Held = ReadonlyMap<string, string>;

export const heldIn = (rows: readonly Pick<ImageRow, 'Id' | 'RepoTags'>[]): Held =>
  new Map(
    rows.flatMap(({ Id, RepoTags }) => {
      const tags = (RepoTags ?? []).filter((tag) => tag !== '<none>:<none>');
      return (tags.length > 0 ? tags : [Id]).map((name): [string, string] => [name, Id]);
    }),
  );

/** Names that mean another image than before, and images that are new. One that has lost its name is none. */
export function madeSince(before: Held, now: Held): readonly string[] {
  const ids = new Set(before.values());
  return [...now].filter(([name, id]) => (name === id ? !ids.has(id) : before.get(name) !== id)).map(([name]) => name);
}

export class BuiltImages {
  readonly #room: EngineRoom;
  readonly #turns = new Turns();
  #nodeId: string | undefined;
  #known: Promise<Held> = Promise.resolve(new Map());
  /** Conversations with that node which have begun, and whose images have not been copied yet. */
  #open = 0;

  constructor(room: EngineRoom) {
    this.#room = room;
  }

  /** Rejects when the engine does not say what it has. */
  async begin(node: Node): Promise<void> {
    if (this.#open === 0 || this.#nodeId !== node.ID) {
      this.#nodeId = node.ID;
      this.#open = 0;
      this.#known = this.#held(node);
    }
    this.#open++;
    try {
      await this.#known;
    } catch (error) {
      this.#left(node);
      throw error;
    }
  }

  /** Of each that has begun. Never rejects. */
  async end(node: Node): Promise<void> {
    await this.#turns.take(async () => {
      if (this.#nodeId !== node.ID) return;
      try {
        const held = await this.#held(node);
        await this.#copy(node, madeSince(await this.#known, held));
        this.#known = Promise.resolve(held);
      } catch (error) {
        this.#room.log.warn({ node: node.ID, error: messageOf(error) }, 'images that were built are not everywhere');
      } finally {
        this.#left(node);
      }
    });
  }

  #left({ ID }: Node): void {
    if (this.#nodeId === ID && this.#open > 0) this.#open--;
  }

  async #held(node: Node): Promise<Held> {
    const { status, json, text } = await this.#room.ask(node, 'GET', '/images/json');
    if (status !== 200) throw new Error(json?.message ?? text);
    return heldIn(json as readonly ImageRow[]);
  }

  async #copy(node: Node, names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const { all } = await this.#room.engines();
    const from = all.find(({ nodes }) => nodes.some(({ ID }) => ID === node.ID));
    if (!from) throw new Error('its engine does not answer');
    const to = all.filter((engine) => engine !== from);
    const quiet = { signal: new AbortController().signal, begin: () => {}, say: () => {}, drained: async () => {} };
    const failures = await copyImages(this.#room, from, to, names, quiet);
    if (failures.length > 0) throw new Error(failures.map(({ node: at, reason }) => `${at}: ${reason}`).join('; '));
  }
}
