import { builtins, type GoFunction } from './functions.ts';
import { TemplateError } from './lex.ts';
import { type Command, type Node, type Operand, type Pipe, parse, type Template } from './parse.ts';
import { isList, isMap, isTrue, Struct, show, sortedEntries, typeOf, type Value } from './values.ts';

// Fills in templates as Go's text/template does, its messages word by word, within bounds: a template may ask for itself again and again.

export interface FillOptions {
  /** What errors call the template. */
  readonly name: string;
  /** What `.` is at first. */
  readonly data: Value;
  /** Beside Go's own. They throw what is wrong with their arguments. */
  readonly functions?: Readonly<Record<string, GoFunction>>;
}

const maxSteps = 200_000;
const maxBytes = 8 * 1024 * 1024;
const maxDepth = 100;

/** `source` and what comes back are bytes, see `byteText`. A map without the key is an error. Throws TemplateError. */
export function fill(source: string, { name, data, functions = {} }: FillOptions): string {
  if (!source.includes('{{')) return source;
  const all = { ...builtins, ...functions };
  const template = parse(source, name, new Set(Object.keys(all)));
  return new Execution(template, name, data, all).run();
}

interface Variable {
  readonly name: string;
  value: Value;
}

type Flow = 'next' | 'break' | 'continue';

class Execution {
  readonly #template: Template;
  readonly #name: string;
  readonly #functions: Readonly<Record<string, GoFunction>>;
  readonly #data: Value;
  #variables: Variable[];
  #output: string[] = [];
  #steps = 0;
  #bytes = 0;
  #depth = 0;

  constructor(template: Template, name: string, data: Value, functions: Readonly<Record<string, GoFunction>>) {
    this.#template = template;
    this.#name = name;
    this.#data = data;
    this.#functions = functions;
    this.#variables = [{ name: '$', value: data }];
  }

  run(): string {
    this.#walk(this.#template.body, this.#data);
    return this.#output.join('');
  }

  #wrong({ at, text }: { readonly at: number; readonly text: string }, problem: string): TemplateError {
    const before = this.#template.source.slice(0, at);
    const place = `${before.split('\n').length}:${at - (before.lastIndexOf('\n') + 1)}`;
    return new TemplateError(
      `template: ${this.#name}:${place}: executing ${JSON.stringify(this.#name)} at <${text}>: ${problem}`,
    );
  }

  #spend(bytes = 0): void {
    this.#bytes += bytes;
    if (++this.#steps > maxSteps) throw new TemplateError(`template: ${this.#name}: it takes too many steps`);
    if (this.#bytes > maxBytes) throw new TemplateError(`template: ${this.#name}: it makes too much text`);
  }

  #write(text: string): void {
    this.#spend(text.length);
    this.#output.push(text);
  }

  // --- actions ---

  #walk(nodes: readonly Node[], dot: Value): Flow {
    for (const node of nodes) {
      const flow = this.#step(node, dot);
      if (flow !== 'next') return flow;
    }
    return 'next';
  }

  #step(node: Node, dot: Value): Flow {
    this.#spend();
    switch (node.kind) {
      case 'text':
        this.#write(node.text);
        return 'next';
      case 'action': {
        const value = this.#pipe(node.pipe, dot);
        if (node.pipe.variables.length === 0) this.#write(show(value));
        return 'next';
      }
      case 'if':
      case 'with':
        return this.#scoped(() => {
          const value = this.#pipe(node.pipe, dot);
          if (!isTrue(value)) return this.#walk(node.otherwise, dot);
          return this.#walk(node.body, node.kind === 'with' ? value : dot);
        });
      case 'range':
        return this.#scoped(() => this.#range(node, dot));
      case 'template':
        this.#include(node, dot);
        return 'next';
      case 'break':
      case 'continue':
        return node.kind;
      default:
        return node satisfies never;
    }
  }

  #scoped<T>(act: () => T): T {
    const known = this.#variables.length;
    const result = act();
    this.#variables.length = known;
    return result;
  }

  #range({ pipe, body, otherwise }: Extract<Node, { readonly body: unknown }>, dot: Value): Flow {
    const value = this.#piped(pipe, dot);
    const items = this.#itemsOf(value, pipe);
    if (items.length === 0) return this.#walk(otherwise, dot);
    const names = pipe.variables;
    for (const [key, item] of items) {
      this.#spend();
      const flow = this.#scoped(() => {
        const [first, second] = names;
        if (second !== undefined) this.#set(pipe, [first as string, second], [key, item]);
        else if (first !== undefined) this.#set(pipe, [first], [item]);
        return this.#walk(body, item);
      });
      if (flow === 'break') break;
    }
    return 'next';
  }

  #itemsOf(value: Value, pipe: Pipe): [Value, Value][] {
    if (isList(value)) return value.map((item, i) => [i, item]);
    if (isMap(value)) return sortedEntries(value);
    if (typeof value === 'number' && Number.isInteger(value)) {
      if (value > maxSteps) throw this.#wrong(pipe, 'it takes too many steps');
      return Array.from({ length: Math.max(0, value) }, (_, i) => [i, i]);
    }
    if (value === null) return [];
    throw this.#wrong(pipe, `range can't iterate over ${show(value)}`);
  }

  #include({ name, pipe, at }: Extract<Node, { readonly kind: 'template' }>, dot: Value): void {
    const place = { at, text: `{{template "${name}"}}` };
    const body = this.#template.defined.get(name);
    if (!body) throw this.#wrong(place, `template "${name}" not defined`);
    const data = pipe ? this.#pipe(pipe, dot) : null;
    if (++this.#depth > maxDepth) throw this.#wrong(place, `exceeded maximum template depth (${maxDepth})`);
    const outer = this.#variables;
    this.#variables = [{ name: '$', value: data }];
    this.#walk(body, data);
    this.#variables = outer;
    this.#depth--;
  }

  // --- pipelines ---

  #pipe(pipe: Pipe, dot: Value): Value {
    const value = this.#piped(pipe, dot);
    if (pipe.variables.length > 0) this.#set(pipe, pipe.variables, [value]);
    return value;
  }

  #set({ assigns }: Pipe, names: readonly string[], values: readonly Value[]): void {
    for (const [i, name] of names.entries()) {
      const value = values[i] ?? null;
      if (assigns) this.#variable(name).value = value;
      else this.#variables.push({ name, value });
    }
  }

  #variable(name: string): Variable {
    const found = this.#variables.findLast((one) => one.name === name);
    // The parser has seen to it.
    if (!found) throw new TemplateError(`template: ${this.#name}: undefined variable: ${name}`);
    return found;
  }

  #piped({ commands }: Pipe, dot: Value): Value {
    let final: Value | undefined;
    for (const command of commands) final = this.#command(command, dot, final);
    return final ?? null;
  }

  #command(command: Command, dot: Value, final: Value | undefined): Value {
    this.#spend();
    const [first, ...rest] = command.operands;
    if (first?.kind === 'function') return this.#call(first, rest, command, dot, final);
    if (rest.length > 0 || final !== undefined) {
      if (first?.kind === 'field' || first?.kind === 'variable') {
        const field = first.path.at(-1);
        if (field !== undefined) throw this.#wrong(first, `${field} has arguments but cannot be invoked as function`);
      }
      throw this.#wrong(first as Operand, `can't give argument to non-function ${first?.text}`);
    }
    if (first?.kind === 'nil') throw this.#wrong(first, 'nil is not a command');
    return this.#value(first as Operand, dot);
  }

  #value(operand: Operand, dot: Value): Value {
    switch (operand.kind) {
      case 'dot':
        return dot;
      case 'nil':
        return null;
      case 'constant':
        return operand.value;
      case 'function':
        return this.#call(operand, [], operand, dot, undefined);
      case 'field':
        return this.#fields(operand, operand.path, dot);
      case 'variable':
        return this.#fields(operand, operand.path, this.#variable(operand.name).value);
      case 'pipe':
        return this.#fields(operand, operand.path, this.#pipe(operand.pipe, dot));
      default:
        return operand satisfies never;
    }
  }

  #fields(operand: Operand, path: readonly string[], from: Value): Value {
    let value = from;
    for (const name of path) {
      if (isMap(value)) {
        const found = value.get(name);
        if (found === undefined) throw this.#wrong(operand, `map has no entry for key ${JSON.stringify(name)}`);
        value = found;
        continue;
      }
      const found = value instanceof Struct ? value.fields.get(name) : undefined;
      if (found !== undefined) value = found;
      else if (value === null) throw this.#wrong(operand, `nil data; no entry for key ${JSON.stringify(name)}`);
      else throw this.#wrong(operand, `can't evaluate field ${name} in type ${typeOf(value)}`);
    }
    return value;
  }

  #call(
    named: Extract<Operand, { readonly kind: 'function' }>,
    operands: readonly Operand[],
    place: Command | Operand,
    dot: Value,
    final: Value | undefined,
  ): Value {
    const { name } = named;
    const { run, least, most = Number.POSITIVE_INFINITY, texts = 0 } = this.#functions[name] as GoFunction;
    const count = operands.length + (final === undefined ? 0 : 1);
    if (count < least || count > most) {
      const wanted = most === Number.POSITIVE_INFINITY ? `want at least ${least}` : `want ${least}`;
      throw this.#wrong(named, `wrong number of args for ${name}: ${wanted} got ${count}`);
    }
    // These two look no further than they need to.
    if (name === 'and' || name === 'or') return this.#logical(name, operands, dot, final);
    const values = operands.map((operand, i) => {
      const value = this.#value(operand, dot);
      if (i < texts && typeof value !== 'string') throw this.#wrong(operand, `expected string; found ${operand.text}`);
      return value;
    });
    if (final !== undefined) {
      if (operands.length < texts && typeof final !== 'string') {
        throw this.#wrong(place, `wrong type for value; expected string; got ${typeOf(final)}`);
      }
      values.push(final);
    }
    // Before it is done: one text may be named again and again.
    for (const value of values) if (typeof value === 'string') this.#spend(value.length);
    try {
      const result = run(...values);
      if (typeof result === 'string') this.#spend(result.length);
      return result;
    } catch (error) {
      if (error instanceof TemplateError) throw error;
      throw this.#wrong(place, `error calling ${name}: ${(error as Error).message}`);
    }
  }

  #logical(name: 'and' | 'or', operands: readonly Operand[], dot: Value, final: Value | undefined): Value {
    let value: Value = null;
    for (const operand of operands) {
      value = this.#value(operand, dot);
      if (isTrue(value) === (name === 'or')) return value;
    }
    return final ?? value;
  }
}
