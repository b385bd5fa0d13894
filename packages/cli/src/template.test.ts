import { describe, expect, test } from 'vitest';
import { renderList, table } from './output.ts';
import { compile } from './template.ts';

const data = { ID: 'abc', Spec: { Name: 'web', Labels: { 'a.b': 'c' } }, Ports: [{ P: 80 }, { P: 81 }] };

describe('templates', () => {
  test.each([
    ['{{.ID}} {{.Spec.Name}}', 'abc web'],
    ['{{json .Spec}}', '{"Name":"web","Labels":{"a.b":"c"}}'],
    ['{{index .Spec.Labels "a.b"}}', 'c'],
    ['{{range .Ports}}{{.P}},{{end}}', '80,81,'],
    ['{{if .Missing}}a{{else}}b{{end}}', 'b'],
    ['{{.Spec.Name | upper}}', 'WEB'],
    ['{{len .Ports}}\\t{{.Nothing.Deep}}', '2\t'],
    ['{{if eq .ID "abc"}}yes{{end}}', 'yes'],
  ])('%s', (template, wanted) => {
    expect(compile(template)(data)).toBe(wanted);
  });

  test.each([
    ['{{.ID', 'unclosed action'],
    ['{{bogus .ID}}', 'function "bogus" not defined'],
    ['{{range .Ports}}', 'an {{end}} is missing'],
    ['{{end}}', 'unexpected {{end}}'],
  ])('%s is refused', (template, message) => {
    expect(() => compile(template)(data)).toThrow(message);
  });
});

describe('lists', () => {
  const rows = [
    { ID: '1', Name: 'web' },
    { ID: '22', Name: 'db' },
  ];
  const columns = [
    { header: 'ID', field: 'ID' },
    { header: 'NAME', field: 'Name' },
  ];
  test.each([
    [{}, 'ID   NAME\n1    web\n22   db\n'],
    [{ quiet: true }, '1\n22\n'],
    [{ format: '{{.Name}}' }, 'web\ndb\n'],
    [{ format: 'table {{.Name}}\t{{.ID}}' }, 'NAME   ID\nweb    1\ndb     22\n'],
    [{ format: 'json' }, '{"ID":"1","Name":"web"}\n{"ID":"22","Name":"db"}\n'],
  ])('%j', (options, wanted) => {
    expect(renderList(rows, columns, 'ID', options)).toBe(wanted);
  });

  test('a field that no row has is named', () => {
    expect(() => renderList(rows, columns, 'ID', { format: '{{.Nmae}}' })).toThrow('no field .Nmae; known: ID, Name');
  });

  test('an empty table keeps its head', () => {
    expect(table(['A', 'B'], [])).toBe('A   B\n');
  });
});
