import { ClusterError, messageOf } from '@swarmctl/shared/kit';

// Values as the first Swarm's clients compare with: plain text, `web*`, and `/^web-[12]$/`, which may begin with `(?i)`. None takes long to compare with.

export type Pattern = (text: string) => boolean;

export const isPattern = (value: string): boolean => value.includes('*') || /^\/.*\/$/s.test(value);

/** `isLoose`: case does not matter. Throws `invalid-argument`, also of a text that is too long to compare with an expression. */
export function patternOf(value: string, isLoose: boolean): Pattern {
  const [, source] = /^\/(.*)\/$/s.exec(value) ?? [];
  if (source !== undefined) return byExpression(value, source, isLoose);
  const cased = (text: string) => (isLoose ? text.toLowerCase() : text);
  const pieces = cased(value).split('*');
  return (text) => hasInOrder(cased(text), pieces);
}

/** It begins with the first of the pieces, ends with the last, and has the others between them. */
function hasInOrder(text: string, [first = '', ...others]: readonly string[]): boolean {
  const last = others.pop();
  if (last === undefined) return text === first;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  let from = first.length;
  for (const piece of others) {
    const at = text.indexOf(piece, from);
    if (at < 0) return false;
    from = at + piece.length;
  }
  return from <= text.length - last.length;
}

/** The time that expressions take grows with the length of the text, to the power of what may repeat in them. */
const mostRepeated = 2;
const longest = 256;

function byExpression(value: string, source: string, isLoose: boolean): Pattern {
  const refused = (why: string) => new ClusterError('invalid-argument', `${value} cannot be compared with: ${why}`);
  const plain = source.replace(/^\(\?i\)/, '');
  // What stands for one character each.
  const outline = plain.replace(/\\[^1-9k]|\[(?:\\.|[^\]\\])*\]/gs, 'c');
  if (/\\|\)[*+{]/.test(outline)) throw refused('groups cannot repeat, or be referred to');
  if ((outline.match(/[*+{]/g) ?? []).length > mostRepeated)
    throw refused(`no more than ${mostRepeated} of * + {} can be in it`);
  let pattern: RegExp;
  try {
    pattern = new RegExp(plain, isLoose || plain !== source ? 'i' : '');
  } catch (error) {
    throw refused(messageOf(error));
  }
  return (text) => {
    if (text.length > longest) throw refused(`a value has more than ${longest} characters: ${text.slice(0, 40)}…`);
    return pattern.test(text);
  };
}
