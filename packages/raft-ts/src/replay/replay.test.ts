import { describe, expect, test } from 'vitest';
import { replay } from './replay.ts';
import { parseScript } from './script.ts';

const interaction = `# A member alone elects itself.
add-nodes 1 voters=(1) index=3
----
INFO 1 switched to configuration voters=(1)
INFO 1 became follower at term 0
INFO newRaft 1 [peers: [1], term: 0, commit: 3, applied: 3, lastindex: 3, lastterm: 1]

log-level none
----
ok

campaign 1
----
ok

stabilize
----
ok

propose 1 "a"
----
ok

stabilize
----
ok

log-level info
----
ok

raft-state
----
1: StateLeader (Voter) Term:1 Lead:1

raft-log 1
----
1/4 EntryNormal ""
1/5 EntryNormal "\\"a\\""
`;

const quorum = `committed cfg=(1,2,3) cfgj=(3,4) idx=(7,5,6,_)
----
        idx
xxx>      7    (id=1)
x>        5    (id=2)
xx>       6    (id=3)
?         0    (id=4)
0

vote cfg=(1,2,3) votes=(y,_,y)
----
VoteWon
`;

const confChange = `simple
v1
----
voters=(1)
1: StateProbe match=0 next=1

simple
v2 v3
----
more than one voter changed without entering joint config
`;

describe('replay', () => {
  test.each([
    ['x/interaction/a.txt', interaction],
    ['x/quorum/a.txt', quorum],
    ['x/confchange/a.txt', confChange],
  ])('%s agrees', (path, source) => {
    expect(replay(path, source, 3)).toBeUndefined();
  });

  test('says where a script differs', () => {
    const wrong = interaction.replace('Term:1 Lead:1', 'Term:2 Lead:1');
    expect(replay('x/interaction/a.txt', wrong, 1)).toMatch(
      /a\.txt:\d+: raft-state\n {2}- 1: .*Term:2.*\n {2}\+ 1: .*Term:1/,
    );
  });

  test('leaves log lines out below tier 3', () => {
    const other = interaction.replace('INFO 1 became follower', 'INFO 1 was made follower');
    expect(replay('x/interaction/a.txt', other, 2)).toBeUndefined();
    expect(replay('x/interaction/a.txt', other, 3)).toMatch(/was made/);
  });
});

test('a script is read with its lists, input and doubled separators', () => {
  const [first, second] = parseScript('a 1 x=(1, 2) y=z\nin\n----\nout\n\nb\n----\n----\none\n\ntwo\n----\n----\n');
  expect(first).toMatchObject({
    name: 'a',
    args: [
      { key: '1', values: [] },
      { key: 'x', values: ['1', '2'] },
      { key: 'y', values: ['z'] },
    ],
    input: ['in'],
    expected: 'out\n',
  });
  expect(second).toMatchObject({ name: 'b', expected: 'one\n\ntwo\n', line: 6 });
});

test('a backslash continues a command, and subtests only group', () => {
  const [only] = parseScript('subtest x\n\na 1 \\\n  b=2\n ----\nout\n\nsubtest end\n');
  expect(only).toMatchObject({ name: 'a', text: 'a 1 b=2', input: [], expected: 'out\n', line: 3 });
});

/** What a command prints, seen through the difference to an output that it cannot have. */
function printed(script: string): string {
  const difference = replay('a.txt', `${script}\n----\n\u0000\n`, 3) ?? '';
  return difference
    .split('\n')
    .filter((line) => line.startsWith('  + '))
    .map((line) => line.slice(4))
    .join('\n');
}

describe('what is refused is said in the words of the original', () => {
  test.each([
    ['log-level loud', 'log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]'],
    ['jump 1', 'unknown command'],
    ['add-nodes 1 voters=(1) index=1', 'index must be specified as > 1 due to bootstrap'],
    ['add-nodes 1 read-only=never', 'invalid read-only option "never"'],
    ['add-nodes 1 voters=(1) index=2 log-level=none\nlog-level none\ncompact 1 1', 'compaction'],
  ])('%s', (script, text) => {
    expect(printed(script)).toContain(text);
  });

  test.each([
    ['v', 'unknown token v'],
    ['x1', 'unknown input: x1'],
    ['vx', 'strconv.ParseUint: parsing "x": invalid syntax'],
  ])('change %s', (change, text) => {
    expect(printed(`simple\n${change}`)).toBe(text);
  });

  test('further commands go on after a refused one, at the end of its text', () => {
    expect(printed('log-level none\nlog-level debug\ncampaign-now\nraft-state')).toBe('unknown command');
  });

  test('too few indices or votes', () => {
    expect(printed('committed cfg=(2,1) idx=(_,5,7)')).toBe(
      'error: mismatched input (explicit or _) for voters map[1:{} 2:{}]: [0 5 7]',
    );
    expect(printed('vote cfg=(1,2) votes=(y)')).toBe(
      'error: mismatched input (explicit or _) for voters map[1:{} 2:{}]: [2]',
    );
  });
});

test('the commands say what a script is about, wherever it lies', () => {
  expect(replay('any.txt', quorum, 1)).toBeUndefined();
  expect(replay('quorum/any.txt', confChange, 1)).toBeUndefined();
});
