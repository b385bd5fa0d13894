// A program that lives in a network namespace and has a node's end of the mesh there, doing what it is told over IPC.
import { createLogger, realClock } from '../../packages/shared/src/kit/index.ts';
import { isThere } from '../../packages/worker/src/network/mesh/echo.ts';
import { KernelMesh } from '../../packages/worker/src/network/mesh/index.ts';

let mesh;
const told = (state) =>
  state && {
    ...{ device: state.device, self: state.self, addresses: state.addresses, mtu: state.mtu, senders: state.senders },
    marks: Object.fromEntries(state.marks),
    own: state.own,
    gone: [...(state.gone ?? [])],
  };

const verbs = {
  async open({ options }) {
    const log = createLogger({ level: process.env.LOG_LEVEL ?? 'fatal' });
    mesh = await KernelMesh.open(options, { log, clock: realClock });
    return mesh.describe();
  },
  async apply({ view }) {
    return told(await mesh.apply(view));
  },
  /** Whether its kernel answers at an address. */
  there: ({ addr }) => isThere(addr, 9, 2_000),
  state: async () => told(mesh.state()),
  way: async ({ nodeId }) => mesh.state().wayTo(nodeId),
  describe: async () => mesh.describe(),
  problems: async () => mesh.problems(),
  sweep: () => mesh.sweep(),
  close: ({ keep }) => mesh.close({ keep }),
  /** The ms until the way to a node is of this kind, and it counts as gone or not. */
  until: ({ nodeId, kind, gone }) =>
    new Promise((resolve) => {
      const start = performance.now();
      const look = () => {
        const state = mesh.state();
        if (state.wayTo(nodeId).kind !== kind || state.gone.has(nodeId) !== gone) return;
        unsubscribe();
        resolve(performance.now() - start);
      };
      const unsubscribe = mesh.onChange(look);
      look();
    }),
  /** Until the mesh's MTU is this. */
  untilMtu: ({ mtu }) =>
    new Promise((resolve) => {
      const look = () => {
        if (mesh.state().mtu !== mtu) return;
        unsubscribe();
        resolve();
      };
      const unsubscribe = mesh.onChange(look);
      look();
    }),
};

process.on('message', ({ id, verb, ...rest }) => {
  const answer = Promise.resolve().then(() => verbs[verb](rest));
  answer.then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message ?? String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send({ id: 0 });
