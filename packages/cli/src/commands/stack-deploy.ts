import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { ClusterError } from '@swarmctl/shared/kit';
import { nameIn } from '../compose/load.ts';
import { wrongStackName } from '../compose/names.ts';
import { printed } from '../compose/print.ts';
import { Problems } from '../compose/problems.ts';
import { readStack, type StackFiles } from '../compose/read-stack.ts';
import type { Stack } from '../compose/stack.ts';
import { registryAuthHeader } from '../registry-auth.ts';
import type { Shell } from '../runtime.ts';
import { apply } from '../stack/apply.ts';
import { readCurrent } from '../stack/current.ts';
import { showDifference } from '../stack/diff.ts';
import { type Plan, planOf, type ServicePlan } from '../stack/plan.ts';
import { type ResolveWish, resolved, resolveWishes } from '../stack/resolve.ts';
import { waitForServices } from '../stack/wait.ts';
import { standardInput } from './payload.ts';
import type { Args } from './types.ts';

// swarmctl stack deploy and config. A deployment reads, plans, then writes: what can be wrong is found before anything is written.

export async function deploy(args: Args, shell: Shell): Promise<void> {
  const files = filesOf(args, shell);
  const name = stackName(args, files);
  const [isWaiting, isDry] = [waits(args), args.flag('dry-run')];
  const wish = resolveWish(args);
  const { stack, warnings } = readStack({ ...files, name });
  if (!isWaiting && !isDry) refuseConditions(stack);
  for (const warning of warnings) shell.err(`${warning}\n`);
  const client = shell.client();
  const current = await readCurrent(client, stack);
  const withAuth = args.flag('with-registry-auth');
  const pinned = await resolved(stack, current.services, { wish, withAuth, shell });
  const plan = planOf(pinned, current, { prune: args.flag('prune') });
  if (isDry) {
    shell.out(showPlan(plan));
    return;
  }
  const modules = { client, clock: shell.clock, terminal: shell.terminal, signal: shell.signal };
  const ids = await apply(plan, {
    client,
    say: (line) => shell.out(`${line}\n`),
    warn: (line) => shell.err(`warning: ${line}\n`),
    headers: (image) => (withAuth ? registryAuthHeader(image, shell.env) : {}),
    ready: async (service, made) => {
      const awaited = awaitedBy(service, made);
      if (awaited.length > 0) await refuseFailed(service, await waitForServices(name, awaited, modules));
    },
  });
  if (!isWaiting) return;
  const outcomes = await waitForServices(name, [...ids.values()], modules);
  for (const { service } of plan.services) {
    const reason = outcomes.get(ids.get(service.key) ?? '');
    if (reason !== undefined) shell.fail(`service ${service.name}: ${reason}`);
  }
}

export async function config(args: Args, shell: Shell): Promise<void> {
  const { project, warnings } = readStack({ ...filesOf(args, shell), name: 'stack' });
  for (const warning of warnings) shell.err(`${warning}\n`);
  shell.out(printed(project.file));
}

function resolveWish(args: Args): ResolveWish {
  const given = args.text('resolve-image') ?? 'always';
  const wish = resolveWishes.find((one) => one === given);
  if (wish) return wish;
  const message = `--resolve-image: expected one of ${resolveWishes.join(', ')}, not '${given}'`;
  throw new ClusterError('invalid-argument', message);
}

function waits(args: Args): boolean {
  const [wait, detach] = [args.flag('wait'), args.all['detach']];
  if (wait && detach === true) throw new ClusterError('invalid-argument', '--wait and --detach: leave one of them out');
  return wait || detach === false;
}

/** The one that is given counts before the files'. */
function stackName(args: Args, files: Files): string {
  const name = args.text('stack') ?? nameIn({ ...files, read: (path) => files.read(path).toString('utf8') });
  if (name === undefined) {
    const message = 'the stack needs a name: say it behind the files, or in a file as name: NAME';
    throw new ClusterError('invalid-argument', message);
  }
  const wrong = wrongStackName(name);
  if (wrong) throw new ClusterError('invalid-argument', wrong);
  return name;
}

type Files = Omit<StackFiles, 'name'>;

function filesOf(args: Args, shell: Shell): Files {
  const known = new Map<string, Buffer>();
  const envFiles = args.list('env-file');
  const profiles = args.list('profile');
  return {
    files: args.list('compose-file'),
    ...(envFiles.length > 0 && { envFiles }),
    env: shell.env,
    profiles:
      profiles.length > 0 ? profiles : (shell.env['COMPOSE_PROFILES'] ?? '').split(',').filter((one) => one !== ''),
    cwd: process.cwd(),
    home: shell.env['HOME'] ?? homedir(),
    // Once: the standard input has nothing more to say then. By its number, since what is no file cannot be opened again.
    read: (path) => {
      const content = known.get(path) ?? readFileSync(path === standardInput ? 0 : path);
      known.set(path, content);
      return content;
    },
  };
}

/** They are met by waiting, and who does not wait would not know that they are not. */
function refuseConditions(stack: Stack): void {
  const problems = new Problems();
  for (const { dependencies } of stack.services) {
    for (const { condition, path } of dependencies) {
      if (condition === 'service_started') continue;
      problems.error(stack.at(path), path, `${condition} needs a deployment that waits: add --wait`);
    }
  }
  problems.throwIfAny();
}

const awaitedBy = ({ service }: ServicePlan, ids: ReadonlyMap<string, string>): string[] =>
  service.dependencies.flatMap(({ on, condition }) => (condition === 'service_started' ? [] : (ids.get(on) ?? [])));

async function refuseFailed(
  { service }: ServicePlan,
  outcomes: ReadonlyMap<string, string | undefined>,
): Promise<void> {
  const reason = [...outcomes.values()].find((one) => one !== undefined);
  if (reason !== undefined) {
    throw new Error(
      `service ${service.name} is left as it was, since one that it depends on did not converge: ${reason}`,
    );
  }
}

function showPlan({ networks, payloads, services, removals }: Plan): string {
  const acts = { create: 'create', rotate: 'rotate', label: 'update', keep: '' };
  const lines = [
    ...networks.map(({ name }) => `Would create network ${name}`),
    ...payloads.flatMap(({ act, payload: { kind, name }, versionName }) =>
      act === 'keep' ? [] : [`Would ${acts[act]} ${kind} ${name}${act === 'rotate' ? ` to ${versionName}` : ''}`],
    ),
    ...services.flatMap(({ service: { name }, stored, differences }) => {
      if (!stored) return [`Would create service ${name}`];
      if (differences.length === 0) return [];
      return [`Would update service ${name}`, ...differences.map((one) => `  ${showDifference(one)}`)];
    }),
    ...removals.map(({ what, name }) => `Would remove ${what} ${name}`),
  ];
  return lines.length > 0 ? `${lines.join('\n')}\n` : 'Nothing to do\n';
}
