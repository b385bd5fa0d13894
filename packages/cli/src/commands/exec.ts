import type { Duplex } from 'node:stream';
import { ClusterError } from '@swarmctl/shared/kit';
import type { Node, Service, Task } from '@swarmctl/shared/model';
import { engineFrames } from '@swarmctl/shared/wire';
import { type Client, isNotFound } from '../client.ts';
import { apiFilters, type Shell } from '../runtime.ts';
import type { Args, Command } from './types.ts';

// swarmctl exec: a command in a running container of a service, wherever that is; its input and output are this one's.

async function exec(args: Args, shell: Shell): Promise<void> {
  const client = shell.client();
  const [interactive, tty] = [args.flag('interactive'), args.flag('tty')];
  if (shell.trailing.length === 0) {
    throw new ClusterError('invalid-argument', 'a command is missing: swarmctl exec SERVICE[.SLOT] COMMAND [ARG...]');
  }
  if (tty && interactive && !process.stdin.isTTY) {
    throw new ClusterError('invalid-argument', 'the input is not a terminal: leave -t out');
  }
  const container = await containerOf(client, args.text('service') ?? '');
  const { Id } = await client.post<{ Id: string }>(`/containers/${container}/exec`, {
    ...{ AttachStdin: interactive, AttachStdout: true, AttachStderr: true, Tty: tty, Cmd: shell.trailing },
    ...{ Env: args.list('env'), User: args.text('user') ?? '', WorkingDir: args.text('workdir') ?? '' },
  });
  const stream = await client.upgrade(`/exec/${Id}/start`, { Detach: false, Tty: tty });
  const terminal = tty && process.stdin.isTTY ? new LocalTerminal(client, Id) : undefined;
  try {
    await terminal?.resize();
    await connect(stream, interactive, tty);
  } finally {
    terminal?.restore();
    stream.destroy();
  }
  const { ExitCode } = await client.get<{ ExitCode: number }>(`/exec/${Id}/json`);
  shell.exit(ExitCode);
}

/** The id of the running container that `SERVICE`, `SERVICE.SLOT`, `SERVICE.NODE` or a task's id means: of several, that of the first slot. */
export async function containerOf(client: Client, reference: string): Promise<string> {
  const tasks = (await tasksOf(client, reference)).filter(({ Status }) => Status.State === 'running');
  const [first] = tasks.sort((a, b) => (a.Slot ?? 0) - (b.Slot ?? 0) || (a.ID < b.ID ? -1 : 1));
  const container = first?.Status.ContainerStatus?.ContainerID;
  if (!container) throw new ClusterError('not-found', `no task of ${reference} is running`);
  return container;
}

async function tasksOf(client: Client, reference: string): Promise<readonly Task[]> {
  const whole = await orUndefined(client.get<Service>(`/services/${encodeURIComponent(reference)}`));
  if (whole) return listTasks(client, whole);
  const [, name = '', place = ''] = /^(.+)\.([^.]+)$/.exec(reference) ?? [];
  const service = name && (await orUndefined(client.get<Service>(`/services/${encodeURIComponent(name)}`)));
  if (service) {
    const node = await orUndefined(client.get<Node>(`/nodes/${encodeURIComponent(place)}`));
    return (await listTasks(client, service)).filter(({ Slot, NodeID }) =>
      Slot ? String(Slot) === place : NodeID !== undefined && NodeID === node?.ID,
    );
  }
  const task = await orUndefined(client.get<Task>(`/tasks/${encodeURIComponent(reference)}`));
  if (!task) throw new ClusterError('not-found', `no such service or task: ${reference}`);
  return [task];
}

const listTasks = (client: Client, { ID }: Service): Promise<readonly Task[]> =>
  client.get('/tasks', { filters: apiFilters([], { service: [ID], 'desired-state': ['running'] }) });

async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Until the other end has said all. */
async function connect(stream: Duplex, interactive: boolean, tty: boolean): Promise<void> {
  if (interactive) process.stdin.pipe(stream);
  else stream.end();
  try {
    for await (const { to, bytes } of tty ? plain(stream) : multiplexed(stream)) {
      if (!to.write(bytes)) await new Promise((resolve) => to.once('drain', resolve));
    }
  } finally {
    process.stdin.unpipe(stream);
    process.stdin.pause();
    // A terminal that is still read keeps the process alive.
    process.stdin.unref?.();
  }
}

interface Piece {
  readonly to: NodeJS.WriteStream;
  readonly bytes: Buffer;
}

async function* plain(stream: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  for await (const bytes of stream) yield { to: process.stdout, bytes };
}

async function* multiplexed(chunks: AsyncIterable<Buffer>): AsyncGenerator<Piece> {
  for await (const { stream, bytes } of engineFrames(chunks))
    yield { to: stream === 2 ? process.stderr : process.stdout, bytes };
}

/** This end's terminal: keys go as they are pressed, and the other end's has its size. */
class LocalTerminal {
  readonly #client: Client;
  readonly #exec: string;
  readonly #onResize = () => void this.resize();

  constructor(client: Client, exec: string) {
    this.#client = client;
    this.#exec = exec;
    process.stdin.setRawMode(true);
    process.stdout.on('resize', this.#onResize);
  }

  /** One that has ended meanwhile needs no size. */
  async resize(): Promise<void> {
    const { rows: h, columns: w } = process.stdout;
    if (h && w) await this.#client.post(`/exec/${this.#exec}/resize`, undefined, { h, w }).catch(() => undefined);
  }

  restore(): void {
    process.stdout.off('resize', this.#onResize);
    process.stdin.setRawMode(false);
  }
}

export const execCommands: readonly Command[] = [
  {
    usage: 'exec <service>',
    describe: 'Run a command in a container of a service: SERVICE[.SLOT] COMMAND [ARG...]',
    options: (yargs) =>
      yargs
        .option('interactive', { alias: 'i', type: 'boolean', describe: 'Pass the input on' })
        .option('tty', { alias: 't', type: 'boolean', describe: 'On a terminal' })
        .option('env', { alias: 'e', type: 'string', array: true, nargs: 1, describe: 'NAME=VALUE' })
        .option('user', { alias: 'u', type: 'string', describe: 'As USER[:GROUP]' })
        .option('workdir', { alias: 'w', type: 'string', describe: 'In this folder of the container' }),
    run: exec,
  },
];

/** Flags of `exec` whose value is the next word. */
export const valuedExecFlags: ReadonlySet<string> = new Set(['-e', '--env', '-u', '--user', '-w', '--workdir']);
