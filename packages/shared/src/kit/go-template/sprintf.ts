import { isList, isMap, show, typeOf, type Value } from './values.ts';

// Go's `Sprintf` for what templates have: verbs, flags, width and precision, and what it says of verbs that do not fit.

const directive = /%([-+# 0]*)(\d+|\*)?(?:\.(\d+|\*)?)?([a-zA-Z%]|$)|%[^a-zA-Z]?/g;
/** Characters that a number may ask for, and that may come of all. */
const maxWidth = 1_000_000;
const maxLength = 8 * 1024 * 1024;

export function sprintf(format: string, values: readonly Value[]): string {
  let used = 0;
  let length = 0;
  const number = (text: string | undefined): number | undefined => {
    if (text !== '*') return text === undefined ? undefined : Math.min(Number(text), maxWidth);
    const value = values[used++];
    return typeof value === 'number' ? Math.min(value, maxWidth) : undefined;
  };
  const result = format.replace(directive, (all, flags = '', widthText?: string, precisionText?: string, verb = '') => {
    if (verb === '%') return '%';
    if (verb === '') return '%!(NOVERB)';
    const width = number(widthText);
    const precision = all.includes('.') ? (number(precisionText) ?? 0) : undefined;
    if (used >= values.length) return `%!${verb}(MISSING)`;
    const value = values[used++] ?? null;
    const isNumber = typeof value === 'number' && verb !== 'v' && verb !== 's';
    const text = padded(formatted(value, verb, flags, precision), flags, width, isNumber);
    length += text.length;
    if (length > maxLength) throw new Error('it makes too much text');
    return text;
  });
  const extra = values.slice(used).map((value) => `${typeOf(value)}=${show(value, '<nil>')}`);
  return extra.length > 0 ? `${result}%!(EXTRA ${extra.join(', ')})` : result;
}

function padded(text: string, flags: string, width = 0, isNumber: boolean): string {
  if (flags.includes('-')) return text.padEnd(width);
  if (!flags.includes('0') || !isNumber) return text.padStart(width);
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  return sign + text.slice(sign.length).padStart(width - sign.length, '0');
}

function formatted(value: Value, verb: string, flags: string, precision: number | undefined): string {
  const wrong = () => `%!${verb}(${value === null ? '<nil>' : `${typeOf(value)}=${show(value)}`})`;
  if (verb === 'T') return value === null ? '<nil>' : typeOf(value);
  if (verb === 'v') return flags.includes('#') && typeof value === 'string' ? quoted(value) : show(value, '<nil>');
  if (isList(value) || isMap(value)) return verb === 's' ? show(value) : wrong();
  switch (typeof value) {
    case 'string':
      return textBy(verb, precision === undefined ? value : value.slice(0, precision), flags) ?? wrong();
    case 'boolean':
      return verb === 't' ? String(value) : wrong();
    case 'number': {
      const text = numberBy(verb, value, flags, precision);
      return text === undefined ? wrong() : flags.includes('+') && value >= 0 ? `+${text}` : text;
    }
    default:
      return wrong();
  }
}

function textBy(verb: string, text: string, flags: string): string | undefined {
  const hex = () => Buffer.from(text, 'latin1').toString('hex');
  switch (verb) {
    case 's':
      return text;
    case 'q':
      return flags.includes('#') && !text.includes('`') ? `\`${text}\`` : quoted(text);
    case 'x':
      return hex();
    case 'X':
      return hex().toUpperCase();
    default:
      return undefined;
  }
}

function numberBy(verb: string, value: number, flags: string, precision: number | undefined): string | undefined {
  const isWhole = Number.isInteger(value);
  const inBase = (base: number, prefix: string) => {
    const sign = value < 0 ? '-' : '';
    return isWhole ? `${sign}${flags.includes('#') ? prefix : ''}${Math.abs(value).toString(base)}` : undefined;
  };
  switch (verb) {
    case 'd':
      return inBase(10, '');
    case 'b':
      return inBase(2, '0b');
    case 'o':
      return inBase(8, '0');
    case 'x':
      return inBase(16, '0x');
    case 'X':
      return inBase(16, '0x')?.toUpperCase();
    case 'c':
      return isWhole ? Buffer.from(String.fromCodePoint(value)).toString('latin1') : undefined;
    case 'q':
      return isWhole ? `'${Buffer.from(String.fromCodePoint(value)).toString('latin1')}'` : undefined;
    case 'U':
      return isWhole ? `U+${value.toString(16).toUpperCase().padStart(4, '0')}` : undefined;
    case 'f':
    case 'F':
      return isWhole ? undefined : value.toFixed(Math.min(precision ?? 6, 100));
    case 'e':
      return isWhole ? undefined : exponent(value, precision);
    case 'g':
      return isWhole ? undefined : String(value);
    default:
      return undefined;
  }
}

/** With two digits at least, as in Go. */
const exponent = (value: number, precision = 6): string =>
  value.toExponential(Math.min(precision, 100)).replace(/e([+-])(\d)$/, 'e$10$2');

const quoted = (text: string): string => JSON.stringify(text);
