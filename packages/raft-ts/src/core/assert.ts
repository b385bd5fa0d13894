import type { ConfState, Entry, HardState, Message } from './types.ts';

// For what cannot happen unless the core or its storage is wrong: the host must end, not go on.

/** The core found its own state, or what its storage or a peer said, impossible. */
export class RaftPanic extends Error {
  constructor(text: string) {
    super(text);
    this.name = 'RaftPanic';
  }
}

export function panic(text: string): never {
  throw new RaftPanic(text);
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** Terms, indices and ids are whole numbers below 2^53: beyond, two of them may look equal. */
function check(what: string, value: number): void {
  if (!isCount(value)) panic(`${what} ${value} is not a whole number below 2^53`);
}

function checkEntries(entries: readonly Entry[]): void {
  for (const { term, index } of entries) {
    check('entry term', term);
    check('entry index', index);
  }
}

/** Of what a storage says at a start. */
export function checkBounds(firstIndex: number, lastIndex: number): void {
  check('first index', firstIndex);
  check('last index', lastIndex);
}

export function checkConfState(state: ConfState): void {
  for (const ids of [state.voters, state.votersOutgoing, state.learners, state.learnersNext]) {
    for (const id of ids) check('member id', id);
  }
}

export function checkHardState({ term, vote, commit }: HardState): void {
  check('term', term);
  check('vote', vote);
  check('commit', commit);
}

/** Of a message that came in: all its numbers. */
export function checkMessage(m: Message): void {
  check('message term', m.term);
  check('message index', m.index);
  check('message log term', m.logTerm);
  check('message commit', m.commit);
  check('message sender', m.from);
  check('message recipient', m.to);
  check('message vote', m.vote);
  check('message reject hint', m.rejectHint);
  checkEntries(m.entries);
  if (m.known !== undefined) {
    check('known index', m.known.index);
    check('known term', m.known.term);
  }
  if (m.snapshot === undefined) return;
  const { index, term, confState } = m.snapshot.meta;
  check('snapshot index', index);
  check('snapshot term', term);
  checkConfState(confState);
}
