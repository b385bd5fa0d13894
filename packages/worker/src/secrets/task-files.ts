import { type PayloadReference, payloadReferences, type Task } from '@swarmctl/shared/model';
import type { NodePayload } from '@swarmctl/shared/wire';
import { expand, expandContainerSpec, templateContext, type Value } from '../runtime/template.ts';
import { RuntimeError, type RuntimeNode } from '../runtime/types.ts';

// The files that a task's secrets and configs become, templates filled in. Pure.

export interface TaskFile extends PayloadReference {
  readonly data: Uint8Array;
}

/** By a payload's own id. */
type ById = (id: string) => NodePayload | undefined;

/** In the order of the spec, secrets first. Throws a permanent RuntimeError, which shows nothing of a secret. */
export function taskFiles(task: Task, node: RuntimeNode, byId: ById): readonly TaskFile[] {
  const references = payloadReferences(task.Spec.ContainerSpec);
  const payloads = references.map((reference) => payloadOf(reference, byId));
  return references.map((reference, i) => {
    const { data, templated } = payloads[i] as NodePayload;
    return { ...reference, data: templated ? filledIn(reference, data, { task, node, references, payloads }) : data };
  });
}

function payloadOf({ kind, id, name }: PayloadReference, byId: ById): NodePayload {
  const payload = byId(id);
  if (payload?.kind === kind) return payload;
  throw new RuntimeError(`the ${kind} '${name}' is not in the cluster any more`, { permanent: true });
}

interface Surroundings {
  readonly task: Task;
  readonly node: RuntimeNode;
  readonly references: readonly PayloadReference[];
  readonly payloads: readonly NodePayload[];
}

/**
 * Bytes in, bytes out: each is one character meanwhile, so that what is no UTF-8 stays as it is. What another secret or config holds is put in as
 * it is, templates and all.
 */
function filledIn({ kind, name }: PayloadReference, data: Uint8Array, around: Surroundings): Uint8Array {
  const { task, node, references, payloads } = around;
  const contentOf = (wanted: PayloadReference['kind']) => (argument: string) => {
    const i = references.findIndex((one) => one.kind === wanted && byteText(one.target) === argument);
    const payload = payloads[i];
    if (!payload) throw new Error(`the task has no ${wanted} with this target`);
    return Buffer.from(payload.data).toString('latin1');
  };
  const container = task.Spec.ContainerSpec ?? {};
  const { Env: env = [] } = expandContainerSpec({ ...(container.Env && { Env: container.Env }) }, task, node);
  const text = Buffer.from(data).toString('latin1');
  const called = `${kind} '${name}'`;
  try {
    const filled = expand(text, {
      context: byteValue(templateContext(task, node)),
      functions: {
        env: (argument) => {
          const line = env.map(byteText).find((one) => one.startsWith(`${argument}=`));
          return line?.slice(argument.length + 1) ?? '';
        },
        secret: contentOf('secret'),
        config: contentOf('config'),
      },
      called,
    });
    return Buffer.from(filled, 'latin1');
  } catch (error) {
    if (kind === 'config') throw error;
    const known = 'write a field such as .Service.Name, env "NAME", or secret or config with a target of the task';
    throw new RuntimeError(`template: ${called}: an action cannot be evaluated; ${known}`, { permanent: true });
  }
}

const byteText = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

const byteValue = (value: Value): Value =>
  typeof value === 'string'
    ? byteText(value)
    : Object.fromEntries(Object.entries(value).map(([name, member]) => [byteText(name), byteValue(member)]));
