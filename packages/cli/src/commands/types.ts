import type { Argv, CommandModule } from 'yargs';
import type { Shell } from '../runtime.ts';

// A command: what it is called, its flags, what it does with a shell.

export interface Command {
  /** yargs' form, e.g. `inspect <node...>`. */
  readonly usage: string;
  readonly describe: string;
  readonly aliases?: readonly string[];
  readonly options?: (yargs: Argv) => Argv;
  readonly run: (args: Args, shell: Shell) => Promise<void>;
}

/** Parsed arguments; flags by their long name. */
export class Args {
  readonly #values: Readonly<Record<string, unknown>>;
  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }
  get all(): Readonly<Record<string, unknown>> {
    return this.#values;
  }
  /** What stands behind `--`, or behind the positionals of a command that takes a command line. */
  text(name: string): string | undefined {
    const value = this.#last(name);
    return value === undefined ? undefined : String(value);
  }
  flag(name: string): boolean {
    return this.#last(name) === true;
  }
  list(name: string): readonly string[] {
    const value = this.#values[name];
    return value === undefined ? [] : (Array.isArray(value) ? value : [value]).map(String);
  }
  #last(name: string): unknown {
    const value = this.#values[name];
    return Array.isArray(value) ? value.at(-1) : value;
  }
}

export const toModule = (command: Command, shell: Shell): CommandModule => ({
  command: command.usage,
  describe: command.describe,
  ...(command.aliases && { aliases: command.aliases }),
  builder: (yargs) => (command.options ? command.options(yargs as Argv) : (yargs as Argv)),
  handler: async (argv) => command.run(new Args(argv as Record<string, unknown>), shell),
});

export const listOptions = (yargs: Argv): Argv =>
  yargs
    .option('filter', { alias: 'f', type: 'string', array: true, nargs: 1, describe: 'Only what matches KEY=VALUE' })
    .option('format', { type: 'string', describe: "'table', 'table TEMPLATE', 'json' or a Go template" })
    .option('quiet', { alias: 'q', type: 'boolean', describe: 'Only ids' });

export const inspectOptions = (yargs: Argv): Argv =>
  yargs
    .option('format', { alias: 'f', type: 'string', describe: "'json' or a Go template" })
    .option('pretty', { type: 'boolean', describe: 'For people' });

export const taskListOptions = (yargs: Argv): Argv =>
  listOptions(yargs)
    .option('no-trunc', { type: 'boolean', describe: 'Do not shorten' })
    .option('no-resolve', { type: 'boolean', describe: 'Ids instead of names' });
