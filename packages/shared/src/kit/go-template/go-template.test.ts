import { describe, expect, test } from 'vitest';
import { byteText, fill, ofText, plainText, Struct } from './index.ts';

const data = new Struct('*Data', {
  Name: 'web',
  Empty: '',
  Three: 3,
  Yes: true,
  None: null,
  List: ['a', 'b', 'c'],
  Map: new Map([
    ['y', '2'],
    ['x', '1'],
  ]),
  In: new Struct('struct { Deep string }', { Deep: 'down' }),
});
const functions = {
  greet: ofText((name) => `hello ${name}`),
  fail: ofText((name) => {
    throw new Error(`no ${name}`);
  }),
};
const filled = (text: string) => plainText(fill(byteText(text), { name: 't', data, functions }));

describe('what Go makes of it', () => {
  test.each([
    // Text, comments, trimming.
    ['a } {b}', 'a } {b}'],
    ['a{{/* }} b */}}c', 'ac'],
    ['a \n {{- .Name -}} \t b', 'awebb'],
    ['a {{- /* x */ -}} b', 'ab'],
    ['{{ "}}" }}{{`{{`}}', '}}{{'],
    ['{{"tab\\t\\"q\\" \\u00e4 \\xc3\\xa4 \\101"}}', 'tab\t"q" ä ä A'],
    // Fields, variables, brackets.
    ['{{.In.Deep}} {{.Map.x}} {{$.Name}}', 'down 1 web'],
    ['{{.In}} {{.Map}} {{.List}} {{.Yes}} {{.Three}}', '{down} map[x:1 y:2] [a b c] true 3'],
    ['{{.None}}', '<no value>'],
    ['{{$a := .Name}}{{$a}}{{$a = "b"}}{{$a}}', 'webb'],
    ['{{if true}}{{$a := 1}}{{$a}}{{end}}', '1'],
    ['{{$a := 1}}{{if true}}{{$a = 2}}{{end}}{{$a}}', '2'],
    ['{{$a := .In}}{{$a.Deep}}', 'down'],
    ['{{(index .List 1)}}{{(.In).Deep}}', 'bdown'],
    // Pipelines.
    ['{{.Name | greet}} {{"x" | printf "%s-%s" "y"}}', 'hello web y-x'],
    ['{{.Name | len | printf "%03d"}}', '003'],
    ['{{printf "%s" (greet .Name)}}', 'hello web'],
    // Conditions.
    ['{{if .Empty}}a{{else}}b{{end}}', 'b'],
    ['{{if .Empty}}a{{else if .Name}}b{{else}}c{{end}}', 'b'],
    ['{{if and .Name (not .Empty)}}a{{end}}', 'a'],
    ['{{or .Empty "x"}} {{and .Name .Empty}} {{and .Name "y"}}', 'x  y'],
    ['{{or .Name (fail "x")}} {{and .Empty (fail "x")}}', 'web '],
    ['{{with .In}}{{.Deep}}{{end}}{{with .Empty}}a{{else}}{{.Name}}{{end}}', 'downweb'],
    ['{{with $x := .Name}}{{$x}}{{end}}{{with .Empty}}a{{else with .Name}}{{.}}{{end}}', 'webweb'],
    // Loops.
    ['{{range .List}}{{.}},{{end}}', 'a,b,c,'],
    ['{{range $i, $e := .List}}{{$i}}{{$e}} {{end}}', '0a 1b 2c '],
    ['{{range $k, $v := .Map}}{{$k}}={{$v}} {{end}}', 'x=1 y=2 '],
    ['{{range $v := .Map}}{{$v}}{{end}}{{range 3}}{{.}}{{end}}', '12012'],
    ['{{range .Empty | len}}x{{else}}none{{end}}', 'none'],
    ['{{range .List}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', 'ac'],
    ['{{range .List}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', 'a'],
    // Templates of its own.
    ['{{define "a"}}[{{.}}]{{end}}{{template "a" .Name}}{{template "a" 1}}', '[web][1]'],
    ['{{block "b" .In}}{{.Deep}}{{end}}', 'down'],
    // Functions.
    [
      '{{eq 1 1}} {{eq .Name "a" "web"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt "b" "a"}} {{ge 1 2}}',
      'true true true true true true false',
    ],
    ['{{index .Map "x"}}{{index .Map "none"}} {{index "abc" 1}}', '1 98'],
    ['{{len .Name}} {{len .List}} {{len .Map}} {{len "ä"}}', '3 3 2 2'],
    ['{{slice .Name 1}} {{slice .Name 0 2}} {{slice .List 1 2}}', 'eb we [b]'],
    ['{{print 1 2 "a" "b" 3}} {{println "a" 1}}', '1 2ab3 a 1\n'],
    ['{{print "a" "b"}}{{print 1 true nil}}', 'ab1 true <nil>'],
    [
      '{{html "<a href=\'x\'>&"}} {{js "it\'s <b>"}} {{urlquery "a b&c/ä"}}',
      "&lt;a href=&#39;x&#39;&gt;&amp; it\\'s \\u003Cb\\u003E a+b%26c%2F%C3%A4",
    ],
    ['{{join "," "a" "b"}}', 'a,b'],
    // Numbers.
    ["{{1_000}} {{0x1F}} {{0b11}} {{0o17}} {{-5}} {{+5}} {{1.5}} {{'a'}}", '1000 31 3 15 -5 5 1.5 97'],
    // Formats.
    [
      '{{printf "%5s|%-5s|%05d|%x|%X|%q|%v|%t|%%|%c" "a" "b" 42 255 "hi" "q" .List .Yes 65}}',
      '    a|b    |00042|ff|6869|"q"|[a b c]|true|%|A',
    ],
    [
      '{{printf "%.2f %6.1f %e %+d %T %.1s %#x %o %b" 1.257 2.5 1234.5 3 .Name "abc" 16 8 5}}',
      '1.26    2.5 1.234500e+03 +3 string a 0x10 10 101',
    ],
    [
      '{{printf "%d %s" "a" 1}} {{printf "%s"}} {{printf "x" 1}} {{printf "%z" 1}}',
      '%!d(string=a) %!s(int=1) %!s(MISSING) x%!(EXTRA int=1) %!z(int=1)',
    ],
  ])('%s', (text, wanted) => expect(filled(text)).toBe(wanted));
});

describe('what Go says of it', () => {
  const executing = (place: string, shown: string) => `template: t:${place}: executing "t" at <${shown}>: `;
  test.each([
    ['{{.Name', 'template: t:1: unclosed action'],
    ['\n{{/* x', 'template: t:2: unclosed comment'],
    ['{{}}', 'template: t:1: missing value for command'],
    ['{{if}}{{end}}', 'template: t:1: missing value for if'],
    ['{{.Name | }}', 'template: t:1: missing value for command'],
    ['{{lost "x"}}', 'template: t:1: function "lost" not defined'],
    ['{{__proto__}}', 'template: t:1: function "__proto__" not defined'],
    ['{{toString "x"}}', 'template: t:1: function "toString" not defined'],
    ['{{$x}}', 'template: t:1: undefined variable "$x"'],
    ['{{if true}}{{$a := 1}}{{end}}{{$a}}', 'template: t:1: undefined variable "$a"'],
    ['{{end}}', 'template: t:1: unexpected {{end}}'],
    ['{{else}}', 'template: t:1: unexpected {{else}}'],
    ['{{if .Name}}\na', 'template: t:2: unexpected EOF'],
    ['{{"a}}', 'template: t:1: unterminated quoted string'],
    ['{{.Name & 1}}', 'template: t:1: unexpected "&" in operand'],
    ['{{(.Name}}', 'template: t:1: unclosed left paren'],
    ['{{.Name)}}', 'template: t:1: unexpected ")" in command'],
    ['{{break}}', 'template: t:1: {{break}} outside {{range}}'],
    ['{{.Name | "x"}}', 'template: t:1: non executable command in pipeline stage 2'],
    ['{{3k}}', 'template: t:1: bad number syntax: "3k"'],
    ['{{.Nam}}', `${executing('1:2', '.Nam')}can't evaluate field Nam in type *Data`],
    [
      'a\nbc {{.In.Deeper}}',
      `${executing('2:8', '.In.Deeper')}can't evaluate field Deeper in type struct { Deep string }`,
    ],
    ['{{.Name.x}}', `${executing('1:7', '.Name.x')}can't evaluate field x in type string`],
    ['{{.__proto__}}', "can't evaluate field __proto__ in type *Data"],
    ['{{.Map.none}}', `${executing('1:6', '.Map.none')}map has no entry for key "none"`],
    ['{{.Name "x"}}', `${executing('1:2', '.Name')}Name has arguments but cannot be invoked as function`],
    ['{{"x" "y"}}', `${executing('1:2', '"x"')}can't give argument to non-function "x"`],
    ['{{nil}}', 'nil is not a command'],
    ['{{greet}}', `${executing('1:2', 'greet')}wrong number of args for greet: want 1 got 0`],
    ['{{greet "a" "b"}}', 'wrong number of args for greet: want 1 got 2'],
    ['{{greet 1}}', `${executing('1:8', '1')}expected string; found 1`],
    ['{{1 | greet}}', 'wrong type for value; expected string; got int'],
    ['{{.Name!}}', "template: t:1: bad character U+0021 '!'"],
    ['{{define "a"}}x{{end}}{{define "a"}}y{{end}}', 'multiple definition of template "a"'],
    [
      '{{fail "a long argument here"}}',
      `${executing('1:2', 'fail "a long argument here"')}error calling fail: no a long argument here`,
    ],
    ['{{eq 1 "a"}}', 'error calling eq: incompatible types for comparison'],
    ['{{index .List 7}}', 'error calling index: index out of range: 7'],
    ['{{index .Name "x"}}', 'error calling index: cannot index slice/array with type string'],
    ['{{range .Yes}}{{end}}', "range can't iterate over true"],
    ['{{template "none"}}', `${executing('1:11', '{{template "none"}}')}template "none" not defined`],
  ])('%s', (text, problem) => expect(() => filled(text)).toThrow(problem));
});

describe('without end', () => {
  test.each([
    ['{{define "a"}}{{template "a"}}{{end}}{{template "a"}}', 'exceeded maximum template depth'],
    ['{{range 1000000000}}{{end}}', 'too many steps'],
    ['{{range 1000}}{{range 1000}}{{range 1000}}{{end}}{{end}}{{end}}', 'too many steps'],
    [`{{$a := "12345678"}}${'{{$a = print $a $a}}'.repeat(40)}`, 'too much text'],
    ['{{range 100}}{{printf "%999999s" "a"}}{{end}}', 'too much text'],
    [`{{printf "${'%999999s'.repeat(50_000)}"${' 1'.repeat(50_000)}}}`, 'too much text'],
    [`{{$a := printf "%999999s" "a"}}{{print ${'$a '.repeat(5_000)}}}`, 'too much text'],
    [`${'{{if true}}'.repeat(200)}${'{{end}}'.repeat(200)}`, 'nested too deeply'],
    [`{{${'('.repeat(200)}1${')'.repeat(200)}}}`, 'nested too deeply'],
  ])('%s is given up', (text, problem) => expect(() => filled(text)).toThrow(problem));
});
