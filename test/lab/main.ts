import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type HostStatus, Lab, noLab } from './lab.ts';
import { exitCode } from './run.ts';
import { defaultName } from './state.ts';

// `npm run lab -- VERB …`: a lab from the command line.

const setup = fileURLToPath(new URL('../../scripts/setup.mjs', import.meta.url));

const usage = `Usage: npm run lab -- VERB [--name NAME] …

  up [--nodes 3] [--managers 3] [--no-build] [-- SWARMD-FLAG …]
                          make hosts, each with addresses, an engine and a swarmd, and one cluster of them
  down                    remove every trace of it
  exec N|client CMD …     run CMD on a host, or on the client, which is on their network too
  partition N [M …]       cut host N from all other hosts, or from M (a number, or client) only
  heal [N]                undo partitions, or those of host N
  kill N [dockerd|swarmd] kill -9 everything on host N and unplug it, or one program
  start N                 bring it back
  status                  show the hosts
`;

async function main(argv: readonly string[]): Promise<number> {
  const { verb, words, options } = parse(argv);
  const isHelp = verb === undefined || verb === 'help';
  if (!isHelp && process.getuid?.() !== 0) throw new Error('a lab needs root');
  const open = () => Lab.open(options.name);
  const [first = '', ...rest] = words;
  switch (verb) {
    case 'up':
      return up(options, words);
    case 'down':
      print((await Lab.remove(options.name)) ? `lab '${options.name}' is gone` : `there is no lab '${options.name}'`);
      return 0;
    case 'exec':
      return exec(open(), first, rest);
    case 'partition':
      await open().partition(needed(first), rest.length > 0 ? rest : undefined);
      return 0;
    case 'heal':
      await open().heal(first || undefined);
      return 0;
    case 'kill':
      await kill(open(), needed(first), rest[0]);
      return 0;
    case 'start':
      await open().start(hostNumber(needed(first)));
      return 0;
    case 'status':
      print(table(await open().status()));
      return 0;
    default:
      print(usage);
      return isHelp ? 0 : 125;
  }
}

interface Options {
  readonly name: string;
  readonly nodes: number | undefined;
  readonly managers: number | undefined;
  /** Else what was built last is run. */
  readonly build: boolean;
}

/** Options may stand before and behind the verb, but behind the host of `exec` all is the command's. */
function parse(argv: readonly string[]): { verb: string | undefined; words: string[]; options: Options } {
  const at = argv.findIndex((word, i) => word === 'exec' && argv[i - 1] !== '--name');
  let host = at + 1;
  while (at >= 0 && argv[host]?.startsWith('--name')) host += argv[host] === '--name' ? 2 : 1;
  const [own, command] = at >= 0 ? [argv.slice(0, host + 1), argv.slice(host + 1)] : [argv, []];
  const { values, positionals } = parseArgs({
    args: [...own],
    allowPositionals: true,
    options: {
      name: { type: 'string', default: defaultName },
      nodes: { type: 'string' },
      managers: { type: 'string' },
      'no-build': { type: 'boolean', default: false },
    },
  });
  const count = (text: string | undefined) => (text === undefined ? undefined : Number(text));
  const options = {
    name: values.name,
    nodes: count(values.nodes),
    managers: count(values.managers),
    build: !values['no-build'],
  };
  return { verb: positionals[0], words: [...positionals.slice(1), ...command], options };
}

async function up({ name, nodes, managers, build }: Options, flags: readonly string[]): Promise<number> {
  const missing = noLab();
  if (missing) throw new Error(`a lab needs ${missing}`);
  if (
    build &&
    spawnSync(process.execPath, [setup, 'packages/daemon', 'packages/cli'], { stdio: 'inherit' }).status !== 0
  )
    return 1;
  const abort = once(() => giveUp(name));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, abort);
  const started = performance.now();
  const lab = await Lab.up({
    name,
    flags,
    ...(nodes !== undefined && { nodes }),
    ...(managers !== undefined && { managers }),
  });
  print(table(await lab.status()));
  print(`up in ${((performance.now() - started) / 1_000).toFixed(1)} s; client ${lab.client.addr} ${lab.client.addr6}`);
  return 0;
}

/** `down` in a process of its own: it ends this one first, so that nothing more is made. */
function giveUp(name: string): void {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), 'down', '--name', name];
  spawn(process.execPath, args, { stdio: 'inherit', detached: true });
}

function exec(lab: Lab, id: string, [program, ...args]: readonly string[]): Promise<number> {
  if (!program) throw new Error('exec needs a host and a command');
  const child = lab.machine(id).spawn(program, args, { stdio: 'inherit' });
  // The command has them from the terminal too, and decides.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(exitCode(code, signal)));
  });
}

async function kill(lab: Lab, id: string, program: string | undefined): Promise<void> {
  const host = lab.host(hostNumber(id));
  if (program === undefined) await lab.kill(host.number);
  else if (program === 'dockerd') await host.engine.kill();
  else if (program === 'swarmd') await host.daemon.kill();
  else throw new Error(`there is no '${program}' to kill: name dockerd, swarmd or nothing`);
}

function table(hosts: readonly HostStatus[]): string {
  const rows = [
    ['HOST', 'ROLE', 'ADDRESS', 'IPV6', 'POWER', 'DOCKERD', 'SWARMD', 'NODE', 'CUT FROM'],
    ...hosts.map((host) => [
      host.name,
      host.role,
      host.addr,
      host.addr6,
      host.isUp ? 'on' : 'off',
      String(host.dockerd ?? '-'),
      String(host.swarmd ?? '-'),
      host.node ?? '?',
      host.cutFrom.join(' ') || '-',
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const hostNumber = (id: string) => Number(id.replace(/^node/, ''));

function needed(id: string): string {
  if (!id) throw new Error('which host?');
  return id;
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}

const print = (text: string) => console.log(text.trimEnd());

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(`lab: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
