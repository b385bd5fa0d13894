import { expect, test } from 'vitest';
import { differences, showDifference } from './diff.ts';

test.each<[unknown, unknown, string[]]>([
  [{ a: 1, b: { c: [] } }, { a: 1, d: {} }, []],
  [{ a: 1 }, { a: 2 }, ['~ a: 1 -> 2']],
  [{ a: { b: 'x' } }, { a: { c: 'y' } }, ['- a.b: "x"', '+ a.c: "y"']],
  [{ Labels: { 'a.b': '1' } }, { Labels: { 'a.b': '2' } }, ['~ Labels["a.b"]: "1" -> "2"']],
  [{ Env: ['A=1', 'B=2'] }, { Env: ['B=2', 'C=3'] }, ['- Env: "A=1"', '+ Env: "C=3"']],
  [{ Args: ['a', 'b'] }, { Args: ['b', 'a'] }, ['~ Args: ["a","b"] -> ["b","a"]']],
  [{ Ports: [{ T: 1, P: 2 }] }, { Ports: [{ T: 1, P: 3 }] }, ['~ Ports[0].P: 2 -> 3']],
  [{ Ports: [{ T: 1 }] }, { Ports: [{ T: 1 }, { T: 2 }] }, ['+ Ports: {"T":2}']],
  [
    { Mode: { Global: {} } },
    { Mode: { Replicated: { Replicas: 1 } } },
    ['- Mode.Global: true', '+ Mode.Replicated: {"Replicas":1}'],
  ],
  [{ a: 1, TTY: false, Init: false }, { a: 1 }, ['- Init: false']],
])('%j to %j', (before, after, lines) => {
  expect(differences(before, after).map(showDifference)).toEqual(lines);
});
