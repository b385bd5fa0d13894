import type { Duplex } from 'node:stream';
import { newSharedKey, newTokenSecret } from '@swarmctl/shared/kit';
import type { Peer } from '@swarmctl/shared/wire';
import type { RaftNode } from 'raft-ts';
import { ImageGiver } from './api/docker-host/image-giver.ts';
import { certify } from './ca/certify.ts';
import { standardControllers } from './control/controllers.ts';
import { ControlLoop } from './control/loop.ts';
import { certificateSecrets, Dispatcher } from './dispatcher/index.ts';
import type { ManagerModules } from './manager-types.ts';
import { runRoles } from './roles.ts';
import { scheduler } from './scheduler/index.ts';
import type { RaftProposer } from './store/proposer.ts';
import type { Store } from './store/store.ts';

// What runs on a manager while it leads, made anew for each term: the dispatcher, the control loop and the roles.

export interface TermModules extends Pick<ManagerModules, 'clock' | 'log' | 'newId' | 'random'> {
  readonly store: Store;
  readonly raft: RaftNode;
  readonly proposer: RaftProposer;
  readonly managers: () => readonly Peer[];
  /** Rejects `unavailable` when the node is away. */
  readonly openEngine: (nodeId: string) => Promise<Duplex>;
}

export interface Term {
  readonly dispatcher: Dispatcher;
  /** Until the signal aborts, or one of its loops ends; rejects when one fails. */
  run(signal: AbortSignal): Promise<void>;
}

export function newTerm(modules: TermModules): Term {
  const { store, raft, proposer, managers, openEngine, clock, log, newId, random } = modules;
  const giver = new ImageGiver({ view: () => store.view(), openEngine, clock, log: log.child({ module: 'images' }) });
  const dispatcher = new Dispatcher(
    {},
    {
      ...{ store, proposer, managers, clock, newId, log: log.child({ module: 'dispatcher' }) },
      renew: (nodeId, csr) => certify(store.view(), nodeId, csr, clock.now()),
      alsoNeeded: certificateSecrets,
      giveImage: (nodeId, taskId) => giver.give(nodeId, taskId),
    },
  );
  const control = new ControlLoop(
    { controllers: standardControllers(scheduler(), newSharedKey, newTokenSecret) },
    { store, proposer, clock, newId, random, log: log.child({ module: 'control' }) },
  );
  return {
    dispatcher,
    run: async (signal) => {
      const loops = [
        control.run(signal),
        dispatcher.run(signal),
        runRoles(signal, { store, raft, proposer, clock, log }),
      ];
      await Promise.race([Promise.all(loops), ...loops.map((loop) => loop.then(() => undefined))]);
      await Promise.allSettled(signal.aborted ? loops : []);
    },
  };
}
