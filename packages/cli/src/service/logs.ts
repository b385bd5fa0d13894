import { ClusterError } from '@swarmctl/shared/kit';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { momentForms, parseMoment, toUnixTime } from '@swarmctl/shared/model';
import { engineFrames } from '@swarmctl/shared/wire';
import { isNotFound } from '../client.ts';
import type { Args } from '../commands/types.ts';
import type { Shell } from '../runtime.ts';
import { uint } from '../units.ts';

// `service logs`: the multiplexed stream taken apart, each line with the task that wrote it.

export async function printLogs(args: Args, shell: Shell): Promise<void> {
  const tail = args.text('tail') ?? 'all';
  if (tail !== 'all') uint('tail', tail);
  const client = shell.client();
  const reference = args.text('service') ?? '';
  const { path, tty, isForgotten } = await target(shell, reference);
  const raw = args.flag('raw');
  if (tty && !raw) throw new ClusterError('invalid-argument', 'tty service logs only supported with --raw');
  const bound = (name: 'since' | 'until') => unixTimeOf(name, args.text(name), shell.clock.now());
  const stream = await client.stream(
    path,
    {
      stdout: 1,
      stderr: 1,
      details: (raw || isForgotten) && !args.flag('details') ? undefined : 1,
      follow: args.flag('follow') ? 1 : undefined,
      timestamps: args.flag('timestamps') ? 1 : undefined,
      tail,
      since: bound('since'),
      until: bound('until'),
    },
    shell.signal,
  );
  const label = raw || isForgotten ? (text: string) => text : await labeller(args, shell);
  if (tty) {
    for await (const text of plain(stream)) shell.out(text);
    return;
  }
  for await (const { stream: kind, bytes } of engineFrames(stream)) {
    const text = bytes.toString('utf8');
    if (kind === 3) shell.err(text);
    else (kind === 2 ? shell.err : shell.out)(await label(text));
  }
}

interface Target {
  readonly path: string;
  readonly tty: boolean;
  /** A task that the managers do not know any more; its node may have kept its log. */
  readonly isForgotten?: boolean;
}

async function target(shell: Shell, reference: string): Promise<Target> {
  const id = encodeURIComponent(reference);
  try {
    const service = await shell.client().get<Service>(`/services/${id}`);
    return { path: `/services/${service.ID}/logs`, tty: service.Spec.TaskTemplate.ContainerSpec?.TTY ?? false };
  } catch (error) {
    if (!isNotFound(error)) throw error;
    const task = await shell
      .client()
      .get<Task>(`/tasks/${id}`)
      .catch((other) => {
        if (!isNotFound(other)) throw other;
        if (/^[0-9a-z]{25}$/.test(reference)) return undefined;
        throw new ClusterError('not-found', `no such task or service: ${reference}`);
      });
    if (!task) return { path: `/tasks/${reference}/logs`, tty: false, isForgotten: true };
    return { path: `/tasks/${task.ID}/logs`, tty: task.Spec.ContainerSpec?.TTY ?? false };
  }
}

/** By this machine's clock and in its zone. */
function unixTimeOf(name: string, text: string | undefined, nowMs: number): string | undefined {
  if (text === undefined) return undefined;
  const moment = parseMoment(text, nowMs, 'local');
  if (moment !== undefined) return toUnixTime(moment);
  const [unix, rfc, ago] = momentForms;
  throw new ClusterError(
    'invalid-argument',
    `invalid value ${JSON.stringify(text)} for "--${name}": expected ${unix}, ${rfc} or ${ago}`,
  );
}

/** Of a terminal, in whole characters. */
export async function* plain(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
}

/** Who wrote a line, before it. Tasks and nodes that come while it follows are asked after once. */
async function labeller(args: Args, shell: Shell): Promise<(text: string) => Promise<string>> {
  const client = shell.client();
  const [tasks, nodes, services] = await Promise.all([
    client.get<Task[]>('/tasks'),
    client.get<Node[]>('/nodes'),
    client.get<Service[]>('/services'),
  ]);
  const slots = new Map(tasks.map((task) => [task.ID, task.Slot]));
  const hostnames = new Map(nodes.map((node) => [node.ID, hostnameOf(node)]));
  const serviceNames = new Map(services.map((service) => [service.ID, service.Spec.Name]));
  const resolve = !args.flag('no-resolve');
  const width = args.flag('no-trunc') ? 25 : 12;
  return async (text) => {
    // `[time ]details message`: the details are the word that holds all three ids, among what the log driver notes.
    const [time, word, message] = args.flag('timestamps') ? cut(text, 2) : ['', ...cut(text, 1)];
    const details = new Map(word?.split(',').map((pair) => cut(pair, 1, '=') as [string, string]));
    const take = (kind: string) => {
      const id = details.get(`${swarmKey}${kind}.id`);
      details.delete(`${swarmKey}${kind}.id`);
      return id;
    };
    const [node, service, task] = [take('node'), take('service'), take('task')];
    if (node === undefined || service === undefined || task === undefined) return text;
    const noted = [...details].map(([key, value]) => `${unescaped(key)}=${unescaped(value)}`).join(',');
    const slot = await known(slots, task, async () => (await client.get<Task>(`/tasks/${task}`)).Slot);
    const name = resolve ? (serviceNames.get(service) ?? service) : service;
    const host = resolve
      ? await known(hostnames, node, async () => hostnameOf(await client.get<Node>(`/nodes/${node}`)))
      : undefined;
    const parts = [
      name,
      slot === undefined ? node : String(slot),
      ...(args.flag('no-task-ids') ? [] : [task.slice(0, width)]),
    ];
    const shown = args.flag('details') ? `${noted} ` : '';
    return `${time && `${time} `}${parts.join('.')}@${host ?? node}    | ${shown}${message ?? ''}`;
  };
}

const swarmKey = 'com.docker.swarm.';

/** The first words, and the rest. */
function cut(text: string, count: number, separator = ' '): string[] {
  const words: string[] = [];
  let rest = text;
  for (let at = rest.indexOf(separator); at >= 0 && words.length < count; at = rest.indexOf(separator)) {
    words.push(rest.slice(0, at));
    rest = rest.slice(at + 1);
  }
  return [...words, rest];
}

/** As it was before the log driver's escape for a URL's query. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

const hostnameOf = (node: Node): string => node.Description?.Hostname ?? node.ID;

/** From the map, or asked for and kept there; undefined for what cannot be had. */
async function known<T>(map: Map<string, T | undefined>, id: string, ask: () => Promise<T>): Promise<T | undefined> {
  if (!map.has(id)) map.set(id, id === '' ? undefined : await ask().catch(() => undefined));
  return map.get(id);
}
