// Where a text stops being JSON, in the words of Go's decoder: Docker's clients and their tests compare them.

/** What is wrong with `text`, e.g. `invalid character 'x' after object key`; undefined when it is JSON. */
export function syntaxErrorIn(text: string): string | undefined {
  const scanner = new Scanner(text);
  try {
    scanner.value();
    return scanner.atEnd() ? undefined : 'unexpected content after JSON';
  } catch (error) {
    if (error instanceof Wrong) return error.message;
    // The stack is full.
    if (error instanceof RangeError) return 'exceeded max depth';
    throw error;
  }
}

/** Nothing that is meant is nested a tenth as deep, and what walks through a value can walk somewhat deeper. */
const maxDepth = 1_000;

const [quote, backslash] = [0x22, 0x5c];
/** Braces differ from brackets by this bit alone. */
const braceBit = 0x20;
const [openBrace, closeBrace] = [0x7b, 0x7d];

/** More is open at once than any value that is meant opens. What is no JSON may be called either. */
export function isTooDeep(text: string): boolean {
  if (text.length <= maxDepth) return false;
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (isInString) {
      if (c === backslash) at++;
      else isInString = c !== quote;
    } else if (c === quote) isInString = true;
    else if ((c | braceBit) === closeBrace) depth--;
    else if ((c | braceBit) === openBrace && ++depth > maxDepth) return true;
  }
  return false;
}

class Wrong extends Error {}

const literals: Readonly<Record<string, string>> = { t: 'true', f: 'false', n: 'null' };
const isDigit = (c: string | undefined): boolean => c !== undefined && c >= '0' && c <= '9';

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  atEnd(): boolean {
    this.#skip();
    return this.#at >= this.#text.length;
  }

  value(): void {
    this.#skip();
    const c = this.#peek();
    const literal = literals[c ?? ''];
    if (c === '{') this.#object();
    else if (c === '[') this.#array();
    else if (c === '"') this.#string();
    else if (c === '-' || isDigit(c)) this.#number();
    else if (!literal) throw this.#wrong('looking for beginning of value');
    else for (const one of literal) this.#expect(one, `in literal ${literal} (expecting '${one}')`);
  }

  #object(): void {
    this.#at++;
    this.#skip();
    if (this.#takes('}')) return;
    do {
      this.#skip();
      if (this.#peek() !== '"') throw this.#wrong('looking for beginning of object key string');
      this.#string();
      this.#skip();
      this.#expect(':', 'after object key');
      this.value();
      this.#skip();
    } while (this.#takes(','));
    this.#expect('}', 'after object key:value pair');
  }

  #array(): void {
    this.#at++;
    this.#skip();
    if (this.#takes(']')) return;
    do {
      this.value();
      this.#skip();
    } while (this.#takes(','));
    this.#expect(']', 'after array element');
  }

  #string(): void {
    this.#at++;
    for (let c = this.#peek(); c !== '"'; c = this.#peek()) {
      if (c === undefined || c < ' ') throw this.#wrong('in string literal');
      this.#at++;
      if (c === '\\') this.#escape();
    }
    this.#at++;
  }

  #escape(): void {
    const c = this.#peek();
    if (c === undefined || !'"\\/bfnrtu'.includes(c)) throw this.#wrong('in string escape code');
    this.#at++;
    for (let i = 0; c === 'u' && i < 4; i++) {
      if (!/^[0-9a-f]$/i.test(this.#peek() ?? '')) throw this.#wrong('in \\u hexadecimal character escape');
      this.#at++;
    }
  }

  #number(): void {
    this.#takes('-');
    if (!this.#takes('0')) this.#digits('in numeric literal');
    if (this.#takes('.')) this.#digits('after decimal point in numeric literal');
    if (this.#takes('e') || this.#takes('E')) {
      if (!this.#takes('+')) this.#takes('-');
      this.#digits('in exponent of numeric literal');
    }
  }

  #digits(where: string): void {
    if (!isDigit(this.#peek())) throw this.#wrong(where);
    while (isDigit(this.#peek())) this.#at++;
  }

  #skip(): void {
    while (/^[ \t\r\n]$/.test(this.#peek() ?? '')) this.#at++;
  }

  #peek = (): string | undefined => this.#text[this.#at];

  #takes(c: string): boolean {
    if (this.#peek() !== c) return false;
    this.#at++;
    return true;
  }

  #expect(c: string, where: string): void {
    if (!this.#takes(c)) throw this.#wrong(where);
  }

  #wrong(where: string): Wrong {
    const c = this.#peek();
    if (c === undefined) return new Wrong('unexpected EOF');
    const quoted = c === "'" ? "\\'" : c === '"' ? '"' : JSON.stringify(c).slice(1, -1);
    return new Wrong(`invalid character '${quoted}' ${where}`);
  }
}
