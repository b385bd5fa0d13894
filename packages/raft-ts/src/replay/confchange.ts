import { ConfChangeError, enterJoint, leaveJoint, type Membership, simpleChange } from '../core/confchange/changer.ts';
import { describeConfig, describeProgress } from '../core/describe.ts';
import { Inflights } from '../core/tracker/inflights.ts';
import { emptyConfig, type ProgressMap } from '../core/tracker/tracker.ts';
import type { ConfChangeSingle, ConfChangeType } from '../core/types.ts';
import { type Directive, integer, isSet } from './script.ts';
import { StepError } from './step-error.ts';

// The scripts of pure configuration changes.

const types: Readonly<Record<string, ConfChangeType>> = {
  v: 'add-node',
  l: 'add-learner-node',
  r: 'remove-node',
  u: 'update-node',
};

/** `v1 l2 r3 u4` as changes. */
export function parseChanges(text: string): ConfChangeSingle[] {
  const words = text.split(/\s+/).filter((word) => word !== '');
  return words.map((word) => {
    if (word.length < 2) throw new StepError(`unknown token ${word}`);
    const type = types[word.charAt(0)];
    if (type === undefined) throw new StepError(`unknown input: ${word}`);
    const digits = word.slice(1);
    if (!/^\d+$/.test(digits)) throw new StepError(`strconv.ParseUint: parsing "${digits}": invalid syntax`);
    return { type, nodeId: integer(digits) };
  });
}

export function describeProgressMap(progress: ProgressMap): string {
  const ids = [...progress.keys()].sort((a, b) => a - b);
  return ids.map((id) => `${id}: ${describeProgress(progress.get(id)!.status())}\n`).join('');
}

/** Runs the directives of one script; each sees a log that is one entry longer. */
export function confChangeRunner(): (directive: Directive) => string {
  let membership: Membership = { config: emptyConfig, progress: new Map() };
  let lastIndex = 0;
  return (directive) => {
    const env = { lastIndex: lastIndex++, newInflights: () => new Inflights(10, Number.POSITIVE_INFINITY) };
    try {
      membership = next(directive, membership, env, parseChanges(directive.input.join(' ')));
    } catch (error) {
      if (error instanceof ConfChangeError || error instanceof StepError) return `${error.message}\n`;
      throw error;
    }
    return `${describeConfig(membership.config)}\n${describeProgressMap(membership.progress)}`;
  };
}

function next(
  directive: Directive,
  from: Membership,
  env: Parameters<typeof simpleChange>[1],
  changes: readonly ConfChangeSingle[],
): Membership {
  switch (directive.name) {
    case 'simple':
      return simpleChange(from, env, changes);
    case 'enter-joint':
      return enterJoint(from, env, isSet(directive, 'autoleave'), changes);
    case 'leave-joint':
      if (changes.length > 0) throw new ConfChangeError('this command takes no input');
      return leaveJoint(from);
    default:
      throw new StepError('unknown command');
  }
}
