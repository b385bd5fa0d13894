import { readFileSync } from 'node:fs';
import { ClusterError, realClock } from '@swarmctl/shared/kit';
import yargs, { type Argv } from 'yargs';
import { Client } from './client.ts';
import { eventCommands } from './commands/events.ts';
import { execCommands, valuedExecFlags } from './commands/exec.ts';
import { networkCommands } from './commands/network.ts';
import { nodeCommands } from './commands/node.ts';
import { payloadCommands, standardInput } from './commands/payload.ts';
import { createFlagNames, serviceCommands, valuedCreateFlags } from './commands/service.ts';
import { stackCommands } from './commands/stack.ts';
import { swarmCommands } from './commands/swarm.ts';
import { contextCommands, systemCommands } from './commands/system.ts';
import { taskCommands } from './commands/task.ts';
import { type Command, toModule } from './commands/types.ts';
import { type Environment, type GlobalOptions, resolveEndpoint } from './context.ts';
import { explain, type Shell } from './runtime.ts';
import { suggestion } from './units.ts';

// swarmctl: options of the connection, then a command. Exit status 0 done, 1 failed, 125 wrong use, 130 interrupted.

const version: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

const wrongUse = 125;
const interrupted = 130;

export async function main(argv: readonly string[]): Promise<void> {
  const abort = new AbortController();
  process.on('SIGINT', () => {
    if (abort.signal.aborted) process.exit(interrupted);
    abort.abort(new Error('interrupted'));
  });
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // `swarmctl … | head` closes the pipe: that is no failure.
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  process.exitCode = await run(
    argv,
    process.env,
    abort.signal,
    (text) => void process.stdout.write(text),
    (text) => void process.stderr.write(text),
  );
}

/** Runs one command line; resolves with the exit status. */
export async function run(
  argv: readonly string[],
  env: Environment,
  signal: AbortSignal,
  out: (text: string) => void,
  err: (text: string) => void,
): Promise<number> {
  let status = 0;
  const fail = (message: string, code: number) => {
    err(`${message.trim()}\n`);
    status = Math.max(status, code);
  };
  try {
    const { options, rest: words } = takeGlobals(argv);
    const { rest, trailing } = cutServiceCommand(words, env);
    let client: Client | undefined;
    const shell: Shell = {
      client: () => {
        client ??= new Client(resolveEndpoint(options, env));
        return client;
      },
      env,
      trailing,
      clock: realClock,
      signal,
      terminal: { isTty: process.stdout.isTTY ?? false, columns: process.stdout.columns ?? 80, write: out },
      out,
      err,
      exit: (code) => {
        status = Math.max(status, code);
      },
      fail: (message) => fail(message, 1),
    };
    await parser(rest, shell).parseAsync();
  } catch (error) {
    if (signal.aborted) return interrupted;
    fail(explain(error), error instanceof ClusterError && error.code === 'invalid-argument' ? wrongUse : 1);
  }
  return status;
}

/** The options before the command: which daemon. `service create --host` behind it is a line of the hosts file, as in Docker. */
function takeGlobals(argv: readonly string[]): { options: GlobalOptions; rest: string[] } {
  const options: { host?: string; context?: string } = {};
  const names: Record<string, 'host' | 'context'> = {
    '--host': 'host',
    '-H': 'host',
    '--context': 'context',
    '-c': 'context',
  };
  let at = 0;
  for (; at < argv.length; at++) {
    const [word = '', inline] = (argv[at] ?? '').split(/=(.*)/s, 2);
    const name = names[word];
    if (!name) break;
    const value = inline ?? argv[++at];
    if (!value) throw new ClusterError('invalid-argument', `${word} needs a value`);
    options[name] = value;
  }
  return { options, rest: argv.slice(at) };
}

/** `service create [FLAGS] IMAGE COMMAND…`: what follows the image belongs to the container, flags of its own included. */
function cutServiceCommand(
  argv: readonly string[],
  env: Environment,
): { rest: readonly string[]; trailing: readonly string[] } {
  if (argv[0] === 'exec') return cutExecCommand(argv);
  if (argv[0] !== 'service' || argv[1] !== 'create') return { rest: argv, trailing: [] };
  const valued = valuedCreateFlags(env);
  for (let at = 2; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (word === '--')
      return { rest: [...argv.slice(0, at), ...argv.slice(at + 1, at + 2)], trailing: argv.slice(at + 2) };
    if (!word.startsWith('-') || word === '-') return { rest: argv.slice(0, at + 1), trailing: argv.slice(at + 1) };
    if (valued.has(word)) at++;
    else checkCreateFlag(word, env);
  }
  return { rest: argv, trailing: [] };
}

/** `exec [FLAGS] SERVICE COMMAND…`, likewise. */
function cutExecCommand(argv: readonly string[]): { rest: readonly string[]; trailing: readonly string[] } {
  for (let at = 1; at < argv.length; at++) {
    const word = argv[at] ?? '';
    if (valuedExecFlags.has(word)) at++;
    else if (!word.startsWith('-')) return { rest: argv.slice(0, at + 1), trailing: argv.slice(at + 1) };
  }
  return { rest: argv, trailing: [] };
}

function checkCreateFlag(word: string, env: Environment): void {
  const name = word.replace(/^-+/, '').split('=')[0] ?? '';
  const known = createFlagNames(env);
  if (known.includes(name) || (!word.startsWith('--') && known.includes(name.charAt(0)))) return;
  const near = suggestion(name, known);
  throw new ClusterError(
    'invalid-argument',
    `unknown flag: ${word.split('=')[0]}${near ? `; did you mean --${near}?` : '; see "swarmctl service create --help"'}`,
  );
}

const groups = (shell: Shell): Readonly<Record<string, { describe: string; commands: readonly Command[] }>> => ({
  swarm: { describe: 'Make, join and leave a cluster', commands: swarmCommands },
  node: { describe: 'Manage nodes', commands: nodeCommands },
  service: { describe: 'Manage services', commands: serviceCommands(shell.env) },
  network: { describe: 'Manage networks', commands: networkCommands },
  secret: { describe: 'Manage secrets', commands: payloadCommands('secret') },
  config: { describe: 'Manage configs', commands: payloadCommands('config') },
  stack: { describe: 'Manage stacks of compose files', commands: stackCommands },
  task: { describe: 'Look at tasks', commands: taskCommands },
  context: { describe: 'Recorded clusters', commands: contextCommands },
});

function parser(argv: readonly string[], shell: Shell): Argv {
  const all = groups(shell);
  // As it is, it would be taken for a flag without a name.
  const root = yargs(argv.map((word) => (word === '-' ? standardInput : word)))
    .scriptName('swarmctl')
    .usage('swarmctl [--host HOST | --context NAME] COMMAND')
    .epilogue(
      'The daemon is found through --host, SWARMD_HOST, DOCKER_HOST, the current context, or the usual sockets.',
    )
    .parserConfiguration({
      'camel-case-expansion': false,
      'boolean-negation': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'dot-notation': false,
      'duplicate-arguments-array': true,
    })
    .version('version', 'Show the version of swarmctl', `swarmctl ${version}`)
    .alias('version', 'v')
    .help('help')
    .alias('help', 'h')
    .exitProcess(false)
    .fail((message, error, instance) => {
      if (error && error.name !== 'YError') throw error;
      void instance;
      throw new ClusterError('invalid-argument', refine(message, argv, all));
    });
  for (const [name, group] of Object.entries(all)) {
    root.command(name, group.describe, (sub) => {
      for (const command of group.commands) sub.command(toModule(command, shell));
      return sub
        .strict()
        .demandCommand(
          1,
          `"swarmctl ${name}" needs a command: ${group.commands.map((one) => one.usage.split(' ')[0]).join(', ')}`,
        );
    });
  }
  for (const command of [...execCommands, ...eventCommands, ...systemCommands(version)])
    root.command(toModule(command, shell));
  return root.strict().demandCommand(1, 'swarmctl needs a command; "swarmctl --help" lists them');
}

/** yargs' message with the nearest flag or command. */
function refine(message: string, argv: readonly string[], all: ReturnType<typeof groups>): string {
  const unknown = /^Unknown (argument|command)s?: (.*)$/.exec(message);
  if (/^Not enough non-option arguments/.test(message)) {
    const command = all[argv[0] ?? '']?.commands.find((one) => one.usage.split(' ')[0] === argv[1]);
    if (!command) return message;
    // It may be what took the argument for its value.
    const flag = unknownFlag(argv, command);
    return flag === undefined
      ? `"swarmctl ${argv[0]} ${command.usage}": an argument is missing`
      : refine(`Unknown argument: ${flag}`, argv, all);
  }
  const bare = /^Not enough arguments following: (.*)$/.exec(message)?.[1];
  if (bare) return `flag needs an argument: ${bare.length === 1 ? '-' : '--'}${bare}`;
  if (!unknown) return message;
  const word = (unknown[2] ?? '').split(', ')[0] ?? '';
  const group = all[argv[0] ?? ''];
  const help = `see "swarmctl ${group ? `${argv[0]} ` : ''}--help"`;
  if (
    unknown[1] === 'command' ||
    !argv.some((one) => one.replace(/^-+/, '').split('=')[0] === word && one.startsWith('-'))
  ) {
    const names = group
      ? group.commands.map((one) => one.usage.split(' ')[0] ?? '')
      : [...Object.keys(all), 'events', 'info', 'version'];
    const near = suggestion(word, names);
    return `unknown command '${word}'${near ? `; did you mean '${near}'?` : `; ${help}`}`;
  }
  const dashes = word.length === 1 ? '-' : '--';
  const command = group?.commands.find((one) => one.usage.split(' ')[0] === argv[1]);
  const near = suggestion(word, command ? flagsOf(command) : []);
  return `unknown flag: ${dashes}${word}${near ? `; did you mean --${near}?` : `; see "swarmctl ${argv.slice(0, command ? 2 : 1).join(' ')} --help"`}`;
}

/** The first long one before `--` that the command does not have. */
function unknownFlag(argv: readonly string[], command: Command): string | undefined {
  const known = ['help', 'version', ...flagsOf(command)];
  const end = argv.indexOf('--');
  return (end < 0 ? argv : argv.slice(0, end))
    .filter((word) => word.startsWith('--'))
    .map((word) => word.slice(2).split('=')[0] ?? '')
    .find((name) => !known.includes(name) && !known.includes(name.replace(/^no-/, '')));
}

function flagsOf(command: Command): string[] {
  const probe = yargs([]);
  command.options?.(probe);
  const { array, boolean, string } = (
    probe as unknown as { getOptions(): Record<'array' | 'boolean' | 'string', string[]> }
  ).getOptions();
  return [...new Set([...array, ...boolean, ...string])].filter((name) => name.length > 1);
}
