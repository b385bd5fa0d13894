import { TemplateError, type Token, tokens } from './lex.ts';
import { byteText, type Value } from './values.ts';

// From a template's words to a tree, by the grammar of Go's text/template, with its messages.

export interface Pipe {
  readonly at: number;
  readonly variables: readonly string[];
  /** The variables are there already. */
  readonly assigns: boolean;
  readonly commands: readonly Command[];
  readonly text: string;
}

export interface Command {
  readonly at: number;
  readonly operands: readonly Operand[];
  readonly text: string;
}

interface Written {
  readonly at: number;
  readonly text: string;
}

export type Operand = Written &
  (
    | { readonly kind: 'dot' | 'nil' }
    | { readonly kind: 'constant'; readonly value: Value }
    | { readonly kind: 'function'; readonly name: string }
    | { readonly kind: 'field'; readonly path: readonly string[] }
    | { readonly kind: 'variable'; readonly name: string; readonly path: readonly string[] }
    | { readonly kind: 'pipe'; readonly pipe: Pipe; readonly path: readonly string[] }
  );

export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'action'; readonly pipe: Pipe }
  | { readonly kind: 'if' | 'with' | 'range'; readonly pipe: Pipe; readonly body: Body; readonly otherwise: Body }
  | { readonly kind: 'template'; readonly name: string; readonly pipe: Pipe | undefined; readonly at: number }
  | { readonly kind: 'break' | 'continue' };
type Body = readonly Node[];

export interface Template {
  readonly source: string;
  readonly body: Body;
  /** By `define` and `block`. */
  readonly defined: ReadonlyMap<string, Body>;
}

const maxLevels = 100;
const keywords = ['if', 'with', 'range', 'template', 'block', 'define', 'else', 'end', 'break', 'continue'];

/** Throws TemplateError: `template: NAME:LINE: …`. `functions`: the names of those that there are. */
export function parse(source: string, name: string, functions: ReadonlySet<string>): Template {
  return new Parser(source, name, functions).template();
}

class Parser {
  readonly #source: string;
  readonly #name: string;
  readonly #functions: ReadonlySet<string>;
  readonly #tokens: Generator<Token, void>;
  readonly #defined = new Map<string, Body>();
  #token: Token;
  /** The names that are known here. */
  #variables = ['$'];
  #levels = 0;
  #loops = 0;

  constructor(source: string, name: string, functions: ReadonlySet<string>) {
    this.#source = source;
    this.#name = name;
    this.#functions = functions;
    this.#tokens = tokens(source, this.#wrong);
    this.#token = this.#tokens.next().value as Token;
  }

  template(): Template {
    const { nodes, end } = this.#body();
    if (end.kind !== 'eof') throw this.#wrong(end.at, `unexpected {{${end.text}}}`);
    return { source: this.#source, body: nodes, defined: this.#defined };
  }

  readonly #wrong = (at: number, problem: string): TemplateError => {
    const line = this.#source.slice(0, at).split('\n').length;
    return new TemplateError(`template: ${this.#name}:${line}: ${problem}`);
  };

  #next(): Token {
    const token = this.#token;
    if (token.kind !== 'eof') this.#token = this.#tokens.next().value as Token;
    return token;
  }

  #isMark = (text: string): boolean => this.#token.kind === 'mark' && this.#token.text === text;

  #expect(kind: Token['kind'], context: string): Token {
    const token = this.#next();
    if (token.kind !== kind) throw this.#wrong(token.at, `unexpected ${shown(token)} in ${context}`);
    return token;
  }

  // --- actions ---

  /** Up to `end`, `else` or the end of the file, which is consumed as a word. */
  #body(): { readonly nodes: Node[]; readonly end: Token } {
    if (++this.#levels > maxLevels) throw this.#wrong(this.#token.at, 'it is nested too deeply');
    const nodes: Node[] = [];
    for (;;) {
      const token = this.#next();
      if (token.kind === 'eof') return { nodes, end: token };
      if (token.kind === 'text') {
        nodes.push({ kind: 'text', text: token.text });
        continue;
      }
      const word = this.#token;
      if (word.kind === 'word' && (word.text === 'end' || word.text === 'else')) {
        this.#levels--;
        return { nodes, end: this.#next() };
      }
      nodes.push(...this.#action());
    }
  }

  #action(): Node[] {
    const word = this.#token;
    if (word.kind !== 'word' || !keywords.includes(word.text)) {
      const pipe = this.#pipe('command');
      this.#expect('right', 'command');
      return [{ kind: 'action', pipe }];
    }
    this.#next();
    switch (word.text) {
      case 'if':
      case 'with':
      case 'range':
        return [this.#control(word.text)];
      case 'break':
      case 'continue':
        this.#expect('right', `{{${word.text}}}`);
        if (this.#loops === 0) throw this.#wrong(word.at, `{{${word.text}}} outside {{range}}`);
        return [{ kind: word.text }];
      case 'define':
        this.#define(this.#nameIn('define clause'));
        return [];
      case 'block': {
        const { at } = this.#token;
        const name = this.#nameIn('block clause');
        const pipe = this.#pipe('block clause');
        this.#define(name);
        return [{ kind: 'template', name, pipe, at }];
      }
      default: {
        const { at } = this.#token;
        const name = this.#nameIn('template clause');
        const pipe = this.#token.kind === 'right' ? undefined : this.#pipe('template clause');
        this.#expect('right', 'template clause');
        return [{ kind: 'template', name, pipe, at }];
      }
    }
  }

  #nameIn(context: string): string {
    const token = this.#expect('string', context);
    return this.#textOf(token);
  }

  #define(name: string): void {
    this.#expect('right', 'define clause');
    const [outer, loops] = [this.#variables, this.#loops];
    [this.#variables, this.#loops] = [['$'], 0];
    const { nodes, end } = this.#body();
    [this.#variables, this.#loops] = [outer, loops];
    this.#closed(end, 'define clause');
    const before = this.#defined.get(name);
    // One that is empty gives way.
    if (before && !isEmpty(before) && !isEmpty(nodes)) {
      throw this.#wrong(end.at, `template: multiple definition of template "${name}"`);
    }
    if (!before || isEmpty(before)) this.#defined.set(name, nodes);
  }

  /** `end` was read as a word; its delimiter follows. */
  #closed(end: Token, context: string): void {
    if (end.kind === 'eof') throw this.#wrong(end.at, 'unexpected EOF');
    if (end.text !== 'end') throw this.#wrong(end.at, `unexpected {{${end.text}}}`);
    this.#expect('right', context);
  }

  #control(kind: 'if' | 'with' | 'range'): Node {
    const known = this.#variables.length;
    const pipe = this.#pipe(kind);
    this.#expect('right', kind);
    if (kind === 'range') this.#loops++;
    const { nodes: body, end } = this.#body();
    if (kind === 'range') this.#loops--;
    let otherwise: Node[] = [];
    if (end.kind !== 'eof' && end.text === 'else') {
      const word = this.#token;
      if (word.kind === 'word' && word.text === kind && kind !== 'range') {
        this.#next();
        // Its end is this one's as well.
        otherwise = [this.#control(kind)];
        this.#variables.length = known;
        return { kind, pipe, body, otherwise };
      }
      this.#expect('right', 'else');
      const rest = this.#body();
      otherwise = rest.nodes;
      this.#closed(rest.end, 'end');
    } else this.#closed(end, 'end');
    this.#variables.length = known;
    return { kind, pipe, body, otherwise };
  }

  // --- pipelines ---

  /** Up to the delimiter or bracket that closes it, which stays. */
  #pipe(context: string): Pipe {
    const { at } = this.#token;
    const { variables, assigns } = this.#declaration(context);
    const commands: Command[] = [];
    for (;;) {
      const command = this.#command(context);
      if (command) commands.push(command);
      const token = this.#token;
      if (token.kind === 'right' || this.#isMark(')')) {
        if (commands.length === 0 || !command) throw this.#wrong(token.at, `missing value for ${context}`);
        break;
      }
      if (!this.#isMark('|')) throw this.#wrong(token.at, `unexpected ${shown(token)} in ${context}`);
      if (!command) throw this.#wrong(token.at, `missing value for ${context}`);
      this.#next();
    }
    for (const [i, { operands }] of commands.entries()) {
      const first = operands[0]?.kind ?? 'nil';
      if (i > 0 && ['constant', 'dot', 'nil'].includes(first))
        throw this.#wrong(commands[i]?.at ?? at, `non executable command in pipeline stage ${i + 1}`);
    }
    if (!assigns) this.#variables.push(...variables);
    const text = commands.map((command) => command.text).join(' | ');
    return { at, variables, assigns, commands, text };
  }

  #declaration(context: string): { readonly variables: string[]; readonly assigns: boolean } {
    const none = { variables: [], assigns: false };
    if (this.#token.kind !== 'variable') return none;
    // One word more has to be seen to know whether it is one.
    const rest = this.#source.slice(this.#token.at + this.#token.text.length);
    const isPair = context === 'range' && /^\s*,/.test(rest);
    if (!isPair && !/^\s*(:=|=)/.test(rest)) return none;
    const variables = [this.#next().text];
    if (isPair) {
      this.#next();
      variables.push(this.#expect('variable', context).text);
    }
    const mark = this.#expect('mark', context);
    if (mark.text !== ':=' && mark.text !== '=') throw this.#wrong(mark.at, `unexpected ${shown(mark)} in ${context}`);
    const assigns = mark.text === '=';
    if (assigns) for (const variable of variables) this.#checkVariable(variable, mark.at);
    return { variables, assigns };
  }

  #checkVariable(name: string, at: number): void {
    if (!this.#variables.includes(name)) throw this.#wrong(at, `undefined variable "${name}"`);
  }

  #command(context: string): Command | undefined {
    const { at } = this.#token;
    const operands: Operand[] = [];
    for (;;) {
      const operand = this.#operand();
      if (!operand) break;
      operands.push(operand);
      const { kind, spaced } = this.#token;
      if (kind !== 'right' && kind !== 'mark' && !spaced)
        throw this.#wrong(this.#token.at, `unexpected ${shown(this.#token)} in operand`);
    }
    const { kind, text } = this.#token;
    if (kind === 'eof' || kind === 'text' || (kind === 'mark' && text === '('))
      throw this.#wrong(this.#token.at, `unexpected ${shown(this.#token)} in ${context}`);
    return operands.length > 0 ? { at, operands, text: operands.map((one) => one.text).join(' ') } : undefined;
  }

  /** With the fields that follow it without a gap. */
  #operand(): Operand | undefined {
    const term = this.#term();
    if (!term) return undefined;
    const [{ at }, path] = [this.#token, [] as string[]];
    while (this.#token.kind === 'field' && !this.#token.spaced) path.push(this.#next().text.slice(1));
    if (path.length === 0) return term;
    const text = `${term.text}.${path.join('.')}`;
    switch (term.kind) {
      case 'field':
      case 'variable':
        return { ...term, at, text, path: [...term.path, ...path] };
      case 'pipe':
        return { ...term, at, text, path };
      case 'dot':
        throw this.#wrong(at, `unexpected <.${path[0]}> in operand`);
      case 'function': {
        // A function without arguments, whose value has the field.
        const { name, at: start, text: written } = term;
        const command = { at: start, operands: [term], text: written };
        const pipe = { at: start, variables: [], assigns: false, commands: [command], text: name };
        return { kind: 'pipe', at, text, pipe, path };
      }
      default:
        throw this.#wrong(at, `unexpected . after term ${JSON.stringify(term.text)}`);
    }
  }

  #term(): Operand | undefined {
    const token = this.#token;
    const { at, text } = token;
    switch (token.kind) {
      case 'word':
        this.#next();
        if (text === 'true' || text === 'false') return { kind: 'constant', value: text === 'true', at, text };
        if (text === 'nil') return { kind: 'nil', at, text };
        if (keywords.includes(text)) throw this.#wrong(at, `unexpected <${text}> in operand`);
        if (!this.#functions.has(text)) throw this.#wrong(at, `function "${text}" not defined`);
        return { kind: 'function', name: text, at, text };
      case 'dot':
        this.#next();
        return { kind: 'dot', at, text };
      case 'field':
        this.#next();
        return { kind: 'field', path: [text.slice(1)], at, text };
      case 'variable':
        this.#next();
        this.#checkVariable(text, at);
        return { kind: 'variable', name: text, path: [], at, text };
      case 'number':
        this.#next();
        return { kind: 'constant', value: this.#numberOf(token), at, text };
      case 'string':
        this.#next();
        if (text.startsWith("'")) {
          return { kind: 'constant', value: unquoted(text).codePointAt(0) ?? 0, at, text };
        }
        return { kind: 'constant', value: this.#textOf(token), at, text };
      case 'mark': {
        if (text !== '(') return undefined;
        this.#next();
        if (++this.#levels > maxLevels) throw this.#wrong(at, 'it is nested too deeply');
        const pipe = this.#pipe('parenthesized pipeline');
        this.#levels--;
        if (!this.#isMark(')')) throw this.#wrong(this.#token.at, 'unclosed left paren');
        this.#next();
        return { kind: 'pipe', pipe, path: [], at, text: `(${pipe.text})` };
      }
      default:
        return undefined;
    }
  }

  #numberOf({ text, at }: Token): number {
    const bare = text.replaceAll('_', '').replace(/^\+/, '');
    const value = /^-0[xbo]/i.test(bare) ? -Number(bare.slice(1)) : Number(bare);
    if (Number.isNaN(value)) throw this.#wrong(at, `bad number syntax: "${text}"`);
    return value;
  }

  #textOf({ text, at }: Token): string {
    if (text.startsWith('`')) return text.slice(1, -1);
    try {
      return unquoted(text);
    } catch {
      throw this.#wrong(at, 'invalid syntax');
    }
  }
}

const isEmpty = (nodes: Body): boolean => nodes.every((node) => node.kind === 'text' && node.text.trim() === '');

const shown = ({ kind, text }: Token): string =>
  kind === 'eof'
    ? 'EOF'
    : kind === 'right'
      ? '"}}"'
      : kind === 'word' && keywords.includes(text)
        ? `<${text}>`
        : JSON.stringify(text);

const letters: Readonly<Record<string, string>> = {
  ...{ a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\', '"': '"', "'": "'" },
};

/** What a literal says, by Go's escapes. Throws SyntaxError. */
function unquoted(text: string): string {
  return text
    .slice(1, -1)
    .replace(/\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{3}|.)/gs, (_, code: string) => {
      if (/^[uU]./.test(code)) return byteText(String.fromCodePoint(Number.parseInt(code.slice(1), 16)));
      if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
      if (/^[0-7]{3}$/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 255);
      const letter = letters[code];
      if (letter === undefined) throw new SyntaxError(`unknown escape \\${code}`);
      return letter;
    });
}
