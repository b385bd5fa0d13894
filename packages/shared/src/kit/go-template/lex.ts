// The words of a template in Go's language: text, and between `{{` and `}}` what is to be done. Positions are characters from the beginning.

export interface Token {
  readonly kind:
    | 'text'
    | 'left'
    | 'right'
    | 'string'
    | 'number'
    | 'field'
    | 'variable'
    | 'word'
    | 'dot'
    | 'mark'
    | 'eof';
  /** As written; of a string literal with its quotes. */
  readonly text: string;
  readonly at: number;
  /** Something blank stands before it. */
  readonly spaced: boolean;
}

/** Of a template that is wrong, or cannot be filled in. */
export class TemplateError extends Error {}

/** Throws as `parse` does. */
export type Wrong = (at: number, problem: string) => TemplateError;

const patterns: readonly (readonly [Token['kind'], RegExp])[] = [
  ['string', /"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`|'(?:[^'\\\n]|\\[^\n])+'/y],
  ['number', /[+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*)?\.?\d+(?:[eE][+-]?\d+)?)/y],
  ['field', /\.[\p{L}_][\p{L}\p{N}_]*/uy],
  ['variable', /\$[\p{L}\p{N}_]*/uy],
  ['word', /[\p{L}_][\p{L}\p{N}_]*/uy],
  ['dot', /\./y],
  ['mark', /:=|[|()=,]/y],
];
/** What ends at one of these is whole. */
const boundary = /[\s.,|:()]|$|-?\}\}/y;
const blank = /[ \t\r\n]+/y;

const matchAt = (pattern: RegExp, text: string, at: number): string | undefined => {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
};

export function* tokens(source: string, wrong: Wrong): Generator<Token, void> {
  let at = 0;
  let trimsNext = false;
  for (;;) {
    const open = source.indexOf('{{', at);
    const trimsBefore = open >= 0 && /^\{\{-[ \t\r\n]/.test(source.slice(open, open + 4));
    let text = source.slice(at, open < 0 ? undefined : open);
    if (trimsNext) text = text.replace(/^[ \t\r\n]+/, '');
    if (trimsBefore) text = text.replace(/[ \t\r\n]+$/, '');
    if (text !== '') yield { kind: 'text', text, at, spaced: false };
    if (open < 0) break;
    at = open + (trimsBefore ? 3 : 2);
    const comment = matchAt(/\s*\/\*/y, source, at);
    if (comment !== undefined) {
      const close = source.indexOf('*/', at + comment.length);
      if (close < 0) throw wrong(open, 'unclosed comment');
      const end = matchAt(/\*\/(?:[ \t\r\n]+-)?\}\}/y, source, close);
      if (end === undefined) throw wrong(open, 'comment ends before closing delimiter');
      [at, trimsNext] = [close + end.length, end.includes('-')];
      continue;
    }
    yield { kind: 'left', text: '{{', at: open, spaced: false };
    [at, trimsNext] = yield* insideAction(source, at, open, wrong);
  }
  yield { kind: 'eof', text: '', at: source.length, spaced: false };
}

/** Where the action has ended, and whether what is blank behind it goes. */
function* insideAction(source: string, from: number, open: number, wrong: Wrong): Generator<Token, [number, boolean]> {
  for (let at = from; ; ) {
    const gap = matchAt(blank, source, at)?.length ?? 0;
    at += gap;
    const spaced = gap > 0;
    const end = matchAt(spaced ? /-?\}\}/y : /\}\}/y, source, at);
    if (end !== undefined) {
      yield { kind: 'right', text: '}}', at, spaced };
      return [at + end.length, end.startsWith('-')];
    }
    if (at >= source.length) throw wrong(open, 'unclosed action');
    const token = tokenAt(source, at, spaced, wrong);
    yield token;
    at += token.text.length;
  }
}

function tokenAt(source: string, at: number, spaced: boolean, wrong: Wrong): Token {
  const letter = source[at] ?? '';
  for (const [kind, pattern] of patterns) {
    const text = matchAt(pattern, source, at);
    if (text === undefined) continue;
    if (kind === 'number' && matchAt(/[\p{L}\p{N}_]/uy, source, at + text.length) !== undefined) {
      throw wrong(at, `bad number syntax: "${matchAt(/[+-]?[\p{L}\p{N}_.]+/uy, source, at)}"`);
    }
    if (['field', 'variable', 'word'].includes(kind) && matchAt(boundary, source, at + text.length) === undefined) {
      throw badCharacter(source, at + text.length, wrong);
    }
    return { kind, text, at, spaced };
  }
  if (letter === '"') throw wrong(at, 'unterminated quoted string');
  if (letter === '`') throw wrong(at, 'unterminated raw quoted string');
  if (letter === "'") throw wrong(at, 'unterminated character constant');
  throw wrong(
    at,
    /[ -~]/.test(letter)
      ? `unexpected "${letter}" in operand`
      : `unrecognized character in action: ${named(source, at)}`,
  );
}

function badCharacter(source: string, at: number, wrong: Wrong): TemplateError {
  return wrong(at, `bad character ${named(source, at)}`);
}

const named = (source: string, at: number): string => {
  const code = source.codePointAt(at) ?? 0;
  return `U+${code.toString(16).toUpperCase().padStart(4, '0')} '${String.fromCodePoint(code)}'`;
};
