import { ClusterError, ManualClock } from '@swarmctl/shared/kit';
import type { StoreChange } from '@swarmctl/shared/model';
import { expect, it } from 'vitest';
import { aService } from '../../../../test/kit/index.ts';
import { RaftProposer } from './proposer.ts';
import { StoreStateMachine } from './state-machine.ts';
import { Store } from './store.ts';

const create = (name: string): StoreChange => ({ op: 'create', table: 'services', object: aService({ name }) });

/** A raft of one that commits at once. */
function loopback() {
  const store = new Store();
  const machine = new StoreStateMachine(store);
  let index = 0;
  const raft = {
    async propose(data: Uint8Array) {
      index++;
      return { index, result: machine.apply({ index, term: 1, data }) };
    },
  };
  return { store, proposer: new RaftProposer({ raft, clock: new ManualClock() }) };
}

it('resolves once the changes are in the store', async () => {
  const { store, proposer } = loopback();
  expect(await proposer.propose([create('web')])).toEqual({ index: 1 });
  expect(store.view().serviceByName('web')?.Version.Index).toBe(1);
});

it('rejects with what the store says', async () => {
  const { proposer } = loopback();
  await proposer.propose([create('web')]);
  await expect(proposer.propose([create('web')])).rejects.toMatchObject({
    name: 'ClusterError',
    code: 'already-exists',
    message: 'name conflicts with an existing object: service web already exists',
  });
});

it.each([
  ['not-leader', 'no-leader', /^rpc error: code = Unknown desc = The swarm does not have a leader\. It's possible/],
  ['no-quorum', 'no-leader', /Make sure more than half of the managers are online\.$/],
  ['dropped', 'unavailable', /may have been made or not/],
  ['removed', 'unavailable', /no longer a manager/],
  ['stopped', 'unavailable', /stopping/],
  ['busy', 'unavailable', /try again later/],
  ['too-large', 'invalid-argument', /too large/],
])('raft says %s, callers hear %s', async (raftCode, code, message) => {
  const error = Object.assign(new Error('from raft'), { code: raftCode, data: { leader: 3 } });
  const proposer = new RaftProposer({ raft: { propose: () => Promise.reject(error) }, clock: new ManualClock() });
  const rejected = (await proposer.propose([create('web')]).catch((thrown: unknown) => thrown)) as ClusterError;
  expect(rejected).toBeInstanceOf(ClusterError);
  expect([rejected.code, rejected.data]).toEqual([code, { raft: raftCode, leader: 3 }]);
  expect(rejected.message).toMatch(message);
});

it('bytes that are no batch are an outcome, not an accident', () => {
  const store = new Store();
  const outcome = new StoreStateMachine(store).apply({ index: 4, term: 1, data: Buffer.from([1, 0x82, 0xa3]) });
  expect([outcome, store.index]).toEqual([
    { ok: false, code: 'invalid-argument', message: 'the batch is not msgpack' },
    4,
  ]);
});
