import { compile, type Row } from './template.ts';

// How lists reach the terminal: a table, ids alone, or a template a row.

export interface Column {
  readonly header: string;
  /** The row's field. */
  readonly field: string;
}

export interface ListOptions {
  readonly quiet?: boolean | undefined;
  readonly format?: string | undefined;
}

/** Text of a list, ending in a newline unless empty. `idField` is what `--quiet` prints. */
export function renderList(
  rows: readonly Row[],
  columns: readonly Column[],
  idField: string,
  options: ListOptions,
): string {
  if (options.quiet && !options.format) return lines(rows.map((row) => String(row[idField] ?? '')));
  const format = options.format ?? 'table';
  if (format === 'json') return lines(rows.map((row) => JSON.stringify(row)));
  if (format === 'table')
    return table(
      columns.map((column) => column.header),
      rows.map((row) => columns.map((column) => String(row[column.field] ?? ''))),
    );
  const template = format.startsWith('table ') ? format.slice('table '.length) : format;
  const render = compile(template);
  const body = rows.map((row) => render(strict(row)));
  if (!format.startsWith('table ')) return lines(body);
  const headers = Object.fromEntries(columns.map((column) => [column.field, column.header]));
  const head = render({
    ...Object.fromEntries(Object.keys(rows[0] ?? {}).map((field) => [field, field.toUpperCase()])),
    ...headers,
  });
  return table(
    head.split('\t'),
    body.map((line) => line.split('\t')),
  );
}

const strict = (row: Row): Row => Object.defineProperty({ ...row }, 'strictFields', { value: true, enumerable: false });

const lines = (items: readonly string[]): string => items.map((item) => `${item}\n`).join('');

export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headers.map((header, i) => Math.max(header.length, ...rows.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (i === cells.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + 3)))
      .join('')
      .trimEnd();
  return lines([headers, ...rows].map(line));
}

/** Objects of an `inspect`: a JSON array, or a template an object. */
export function renderInspect(objects: readonly unknown[], format: string | undefined): string {
  if (format === undefined || format === '') return `${JSON.stringify(objects, null, 4)}\n`;
  if (format === 'json') return lines(objects.map((object) => JSON.stringify(object)));
  const render = compile(format);
  return lines(objects.map((object) => render(object)));
}
