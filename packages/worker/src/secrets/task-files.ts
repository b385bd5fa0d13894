import { messageOf } from '@swarmctl/shared/kit';
import { expandPayload, type PayloadReference, payloadReferences, type Task } from '@swarmctl/shared/model';
import type { NodePayload } from '@swarmctl/shared/wire';
import { contextOf, expandContainerSpec } from '../runtime/template.ts';
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

/** What another secret or config holds is put in as it is, templates and all. */
function filledIn({ kind, name }: PayloadReference, data: Uint8Array, around: Surroundings): Uint8Array {
  const { task, node, references, payloads } = around;
  const contentOf = (wanted: PayloadReference['kind']) => (target: string) => {
    const i = references.findIndex((one) => one.kind === wanted && one.target === target);
    const payload = payloads[i];
    if (!payload) throw new Error(`${wanted} target ${target} not found`);
    return Buffer.from(payload.data).toString('latin1');
  };
  const container = task.Spec.ContainerSpec ?? {};
  const { Env: env = [] } = expandContainerSpec({ ...(container.Env && { Env: container.Env }) }, task, node);
  const variable = (wanted: string) =>
    env.find((line) => line.startsWith(`${wanted}=`))?.slice(wanted.length + 1) ?? '';
  try {
    return expandPayload(data, contextOf(task, node, '*template.PayloadContext'), {
      env: variable,
      secret: contentOf('secret'),
      config: contentOf('config'),
    });
  } catch (error) {
    const problem = kind === 'config' ? messageOf(error) : placeIn(messageOf(error));
    throw new RuntimeError(`failed to expand templated ${kind} ${name}: ${problem}`, { permanent: true });
  }
}

/** Of a message that may show a part of a secret, where it is alone. */
const placeIn = (message: string): string =>
  `${/^template: \w+:\d+(:\d+)?/.exec(message)?.[0] ?? 'template'}: this action cannot be evaluated`;
