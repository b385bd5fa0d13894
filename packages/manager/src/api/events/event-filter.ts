import { type Filters, passes, passesLabels } from '../query.ts';
import type { ToldEvent } from './told-event.ts';

// Which events a client asks for. All filters must pass, of the values of one any. A filter by the name of a thing passes the events of that thing alone, and of what
// belongs to it: of a service, its tasks' containers; of an image, its containers; of a node, what happens on its engine.

export const nodeIdAttribute = 'swarmctl.node.id';
/** As of lists of containers: the host name. */
export const nodeAttribute = 'swarmctl.node';

/** What engines tell of; all else is the cluster's. */
export const engineTypes = ['container', 'image', 'volume', 'network', 'daemon', 'plugin', 'builder'];

/** Which types of events a filter by name can pass. */
const subjects: Readonly<Record<string, readonly string[]>> = {
  container: ['container'],
  image: ['image', 'container'],
  volume: ['volume'],
  network: ['network'],
  daemon: ['daemon'],
  plugin: ['plugin'],
  node: ['node', ...engineTypes],
  service: ['service', 'container'],
  secret: ['secret'],
  config: ['config'],
  task: ['task'],
};

export const eventFilters = ['type', 'event', 'scope', 'label', ...Object.keys(subjects)];

export class EventFilter {
  readonly #filters: Filters;
  readonly #named: readonly string[];

  constructor(filters: Filters) {
    this.#filters = filters;
    this.#named = Object.keys(subjects).filter((kind) => filters.get(kind)?.size);
  }

  /** Whether there can be any of the nodes' engines. */
  get wantsEngines(): boolean {
    return (
      passes(this.#filters, 'scope', (one) => one === 'local') &&
      engineTypes.some(
        (type) =>
          passes(this.#filters, 'type', (one) => one === type) &&
          this.#named.every((kind) => subjects[kind]?.includes(type)),
      )
    );
  }

  passes(event: ToldEvent): boolean {
    const { Type, Action, Actor, scope } = event;
    const types = this.#filters.get('type');
    return (
      // Docker knows no events of tasks, so who does not name them is sent none.
      (types?.size ? types.has(Type) : Type !== 'task' || this.#filters.has('task')) &&
      // `exec_start: ls -l` is an `exec_start`.
      passes(this.#filters, 'event', (one) => Action === one || Action.startsWith(`${one}: `)) &&
      passes(this.#filters, 'scope', (one) => one === scope) &&
      passesLabels(this.#filters, 'label', Actor.Attributes) &&
      this.#named.every(
        (kind) => subjects[kind]?.includes(Type) && passes(this.#filters, kind, (one) => isAbout(event, kind, one)),
      )
    );
  }
}

function isAbout({ Type, Actor: { ID, Attributes } }: ToldEvent, kind: string, wanted: string): boolean {
  const begins = (...names: readonly string[]) =>
    names.some((name) => Attributes[name]?.startsWith(wanted) || (name === 'ID' && ID.startsWith(wanted)));
  if (kind === 'image') {
    const names = Type === 'image' ? [ID, Attributes['name']] : [Attributes['image']];
    return names.some((name) => name !== undefined && (name === wanted || withoutTag(name) === wanted));
  }
  if (kind === Type) return begins('ID', 'name');
  if (kind === 'node') return begins(nodeIdAttribute, nodeAttribute);
  return begins('com.docker.swarm.service.id', 'com.docker.swarm.service.name');
}

/** `registry:5000/a/b` out of `registry:5000/a/b:1@sha256:…`. */
const withoutTag = (image: string): string => image.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
