import { basename, dirname } from 'node:path';
import { confChangeRunner } from './confchange.ts';
import { Interaction } from './interaction.ts';
import { runQuorum } from './quorum.ts';
import { type Directive, parseScript } from './script.ts';

// One script, done and compared.

/** 1 compares what `raft-state`, `status` and `raft-log` print; 2 everything but log lines; 3 all of it. */
export type Tier = 1 | 2 | 3;

const logLine = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL)/;
const stateCommands = new Set(['raft-state', 'status', 'raft-log']);

/** The folder that a script is in says what it is about. */
function runnerOf(path: string): (directive: Directive) => string {
  const kind = basename(dirname(path));
  if (kind === 'quorum') return runQuorum;
  if (kind === 'confchange') return confChangeRunner();
  const interaction = new Interaction();
  return (directive) => interaction.run(directive);
}

const seen = (text: string, tier: Tier): string[] =>
  text.split('\n').filter((line) => line !== '' && (tier === 3 || !logLine.test(line)));

/** The first difference, in words; undefined when the script passes. */
export function replay(path: string, source: string, tier: Tier): string | undefined {
  const run = runnerOf(path);
  for (const directive of parseScript(source)) {
    const actual = attempt(run, directive);
    const matters = tier > 1 || stateCommands.has(directive.name) || dirname(path).endsWith('quorum');
    if (!matters) continue;
    const [want, have] = [seen(directive.expected, tier), seen(actual, tier)];
    // A command that printed log lines only is `ok` once they are left out.
    if (want.join('\n') === have.join('\n') || (tier < 3 && isSilent(want) && isSilent(have))) continue;
    return `${path}:${directive.line}: ${directive.text}\n${difference(want, have)}`;
  }
  return undefined;
}

const isSilent = (lines: readonly string[]): boolean => lines.length === 0 || (lines.length === 1 && lines[0] === 'ok');

function attempt(run: (directive: Directive) => string, directive: Directive): string {
  try {
    return run(directive);
  } catch (error) {
    return `threw ${(error as Error).stack}\n`;
  }
}

function difference(want: readonly string[], have: readonly string[]): string {
  let at = 0;
  while (at < want.length && at < have.length && want[at] === have[at]) at++;
  const context = want.slice(Math.max(0, at - 3), at).map((line) => `    ${line}`);
  const missing = want.slice(at, at + 6).map((line) => `  - ${line}`);
  const extra = have.slice(at, at + 6).map((line) => `  + ${line}`);
  return [...context, ...missing, ...extra].join('\n');
}
