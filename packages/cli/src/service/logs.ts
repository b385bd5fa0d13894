import { ClusterError } from '@swarmctl/shared/kit';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { parseDurationMs } from '@swarmctl/shared/model';
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
  const { path, tty } = await target(shell, reference);
  const raw = args.flag('raw');
  if (tty && !raw) throw new ClusterError('invalid-argument', 'tty service logs only supported with --raw');
  const since = args.text('since');
  const stream = await client.stream(
    path,
    {
      stdout: 1,
      stderr: 1,
      details: raw ? undefined : 1,
      follow: args.flag('follow') ? 1 : undefined,
      timestamps: args.flag('timestamps') ? 1 : undefined,
      tail,
      since: since === undefined ? undefined : sinceOf(since, shell.clock.now()),
    },
    shell.signal,
  );
  const label = raw ? (text: string) => text : await labeller(args, shell);
  for await (const { kind, text } of tty ? plain(stream) : frames(stream)) {
    if (kind === 3) shell.err(text);
    else (kind === 2 ? shell.err : shell.out)(await label(text));
  }
}

async function target(shell: Shell, reference: string): Promise<{ path: string; tty: boolean }> {
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
        if (isNotFound(other)) throw new ClusterError('not-found', `no such task or service: ${reference}`);
        throw other;
      });
    return { path: `/tasks/${task.ID}/logs`, tty: task.Spec.ContainerSpec?.TTY ?? false };
  }
}

/** A Unix time from RFC 3339, a Unix time, or how long ago. */
function sinceOf(text: string, nowMs: number): string {
  const ago = parseDurationMs(text);
  if (ago !== undefined) return ((nowMs - ago) / 1000).toFixed(3);
  if (/^\d+(\.\d+)?$/.test(text)) return text;
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new ClusterError(
      'invalid-argument',
      `invalid value ${JSON.stringify(text)} for "--since": expected RFC 3339, a Unix time or a duration such as 10m`,
    );
  return (ms / 1000).toFixed(3);
}

interface Piece {
  readonly kind: number;
  readonly text: string;
}

async function* plain(stream: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  for await (const chunk of stream) yield { kind: 1, text: chunk.toString('utf8') };
}

/** Frames of an 8-byte head (kind, length) and a payload. */
export async function* frames(stream: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  let buffered = Buffer.alloc(0);
  for await (const chunk of stream) {
    buffered = Buffer.concat([buffered, chunk]);
    while (buffered.length >= 8 && buffered.length >= 8 + buffered.readUInt32BE(4)) {
      const end = 8 + buffered.readUInt32BE(4);
      yield { kind: buffered[0] ?? 0, text: buffered.toString('utf8', 8, end) };
      buffered = buffered.subarray(end);
    }
  }
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
    // `[time ]details message`: the details are the only word that holds all three ids.
    const match =
      /^((?:\S+ )?)com\.docker\.swarm\.node\.id=([^,]*),com\.docker\.swarm\.service\.id=([^,]*),com\.docker\.swarm\.task\.id=(\S*) (.*)$/s.exec(
        text,
      );
    if (!match) return text;
    const [, time = '', node = '', service = '', task = '', message = ''] = match;
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
    return `${time}${parts.join('.')}@${host ?? node}    | ${message}`;
  };
}

const hostnameOf = (node: Node): string => node.Description?.Hostname ?? node.ID;

/** From the map, or asked for and kept there; undefined for what cannot be had. */
async function known<T>(map: Map<string, T | undefined>, id: string, ask: () => Promise<T>): Promise<T | undefined> {
  if (!map.has(id)) map.set(id, id === '' ? undefined : await ask().catch(() => undefined));
  return map.get(id);
}
