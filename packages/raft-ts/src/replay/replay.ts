import { confChangeRunner } from './confchange.ts';
import { Interaction } from './interaction.ts';
import { runQuorum } from './quorum.ts';
import { type Directive, parseScript } from './script.ts';

// One script, done and compared.

/** 1 compares what `raft-state`, `status` and `raft-log` print; 2 everything but log lines; 3 all of it. */
export type Tier = 1 | 2 | 3;

const logLine = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL)/;
const stateCommands = new Set(['raft-state', 'status', 'raft-log']);

type Kind = 'quorum' | 'confchange' | 'interaction';

const kinds: Readonly<Record<string, Kind>> = {
  committed: 'quorum',
  vote: 'quorum',
  simple: 'confchange',
  'enter-joint': 'confchange',
  'leave-joint': 'confchange',
};

/** What a script is about: its first command that is of one kind alone says so, wherever the script lies. */
function kindOf(directives: readonly Directive[]): Kind {
  const known = directives.find(({ name }) => kinds[name] !== undefined);
  return known === undefined ? 'interaction' : kinds[known.name]!;
}

function runnerOf(kind: Kind): (directive: Directive) => string {
  if (kind === 'quorum') return runQuorum;
  if (kind === 'confchange') return confChangeRunner();
  const interaction = new Interaction();
  return (directive) => interaction.run(directive);
}

const seen = (text: string, tier: Tier): string[] =>
  text.split('\n').filter((line) => line !== '' && (tier === 3 || !logLine.test(line)));

/** The first difference, in words; undefined when the script passes. */
export function replay(path: string, source: string, tier: Tier): string | undefined {
  const directives = parseScript(source);
  const kind = kindOf(directives);
  const run = runnerOf(kind);
  for (const directive of directives) {
    const actual = attempt(run, directive);
    const matters = tier > 1 || stateCommands.has(directive.name) || kind !== 'interaction';
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
