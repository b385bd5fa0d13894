import { ClusterError } from '../kit/errors.ts';
import { byteText, fill, ofText, plainText, Struct, TemplateError, type Value } from '../kit/go-template/index.ts';
import { slotName, taskName } from './defaults.ts';
import type { Task } from './objects.ts';
import type { ContainerSpec, Mount } from './specs.ts';

// Go templates of Swarm: what they may name, and where in a container's spec they stand. Messages are Docker's.

/** Of the node that the task is on. */
export interface TemplateNode {
  readonly nodeId: string;
  readonly hostname: string;
  readonly architecture: string;
  readonly os: string;
}

export type TemplateTask = Pick<Task, 'ID' | 'ServiceID' | 'ServiceAnnotations' | 'Slot' | 'NodeID'>;

/** What `.` is in templates. */
export type TemplateContext = Struct;

/** `type`: as Docker calls it, for its messages. */
export function templateContext(task: TemplateTask, node: TemplateNode, type = '*template.Context'): TemplateContext {
  const { Name, Labels } = task.ServiceAnnotations;
  const labels = new Map(Object.entries(Labels).map(([key, value]) => [byteText(key), byteText(value)]));
  return new Struct(type, {
    Service: structure(
      { ID: task.ServiceID, Name, Labels: labels },
      'ID string; Name string; Labels map[string]string',
    ),
    Node: structure(
      {
        ID: node.nodeId,
        Hostname: node.hostname,
        Platform: new Struct('template.Platform', {
          Architecture: byteText(node.architecture),
          OS: byteText(node.os),
        }),
      },
      'ID string; Hostname string; Platform template.Platform',
    ),
    Task: structure({ ID: task.ID, Name: taskName(task), Slot: slotName(task) }, 'ID string; Name string; Slot string'),
  });
}

const structure = (fields: Readonly<Record<string, Value>>, type: string): Struct =>
  new Struct(
    `struct { ${type} }`,
    Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [name, typeof value === 'string' ? byteText(value) : value]),
    ),
  );

/** What Docker's messages call every template. */
const name = 'expansion';

/** Throws ClusterError. */
function expanded(text: string, context: TemplateContext, place: string): string {
  if (!text.includes('{{')) return text;
  try {
    return plainText(fill(byteText(text), { name, data: context }));
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new ClusterError('invalid-argument', `${place}: ${plainText(error.message)}`);
  }
}

/** Environment, hostname and mounts with their templates filled in. Throws ClusterError, `invalid-argument`. */
export function expandContainerSpec(spec: ContainerSpec, context: TemplateContext): ContainerSpec {
  return {
    ...spec,
    ...(spec.Env && { Env: spec.Env.map((line) => expandVariable(line, context)) }),
    ...(spec.Mounts && { Mounts: spec.Mounts.map((mount) => expandMount(mount, context)) }),
    ...(spec.Hostname && { Hostname: expanded(spec.Hostname, context, 'expanding hostname failed') }),
  };
}

/** A variable's name is taken as it is. */
function expandVariable(line: string, context: TemplateContext): string {
  const at = line.indexOf('=') + 1;
  if (at === 0) return line;
  const place = `expanding env failed: expanding env ${JSON.stringify(line)}`;
  return line.slice(0, at) + expanded(line.slice(at), context, place);
}

function expandMount(mount: Mount, context: TemplateContext): Mount {
  const filled = (text: string, what: string) => expanded(text, context, `expanding mounts failed: expanding ${what}`);
  const filledAll = (map: Readonly<Record<string, string>>, what: string) =>
    Object.fromEntries(
      Object.entries(map).map(([key, value]) => {
        const entry = `${what}: expanding map entry ${JSON.stringify(key)}=${JSON.stringify(value)}`;
        return [key, filled(value, entry)];
      }),
    );
  const { Source, Target, VolumeOptions: volume } = mount;
  const driver = volume?.DriverConfig;
  return {
    ...mount,
    ...(Source && { Source: filled(Source, `mount source ${JSON.stringify(Source)}`) }),
    ...(Target && { Target: filled(Target, `mount target ${JSON.stringify(Target)}`) }),
    ...(volume && {
      VolumeOptions: {
        ...volume,
        ...(volume.Labels && { Labels: filledAll(volume.Labels, 'volume labels') }),
        ...(driver?.Options && {
          DriverConfig: { ...driver, Options: filledAll(driver.Options, 'volume driver config') },
        }),
      },
    }),
  };
}

/** What the templates of secrets and configs have beside. They throw what is wrong with the argument. */
export interface PayloadFunctions {
  readonly env: (name: string) => string;
  /** Of those that the task has, by target; as bytes, each a character. */
  readonly secret: (target: string) => string;
  readonly config: (target: string) => string;
}

/** Bytes in, bytes out. Throws ClusterError, whose message may show a part of the template. */
export function expandPayload(data: Uint8Array, context: TemplateContext, functions: PayloadFunctions): Uint8Array {
  const { env, secret, config } = functions;
  try {
    const filled = fill(Buffer.from(data).toString('latin1'), {
      ...{ name, data: context },
      functions: {
        env: ofText((argument) => byteText(env(plainText(argument)))),
        secret: ofText((target) => secret(plainText(target))),
        config: ofText((target) => config(plainText(target))),
      },
    });
    return Buffer.from(filled, 'latin1');
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new ClusterError('invalid-argument', plainText(error.message));
  }
}

/** What can be said of a service's templates before it has a task. Throws ClusterError. */
export function checkTemplates(spec: ContainerSpec, service: TemplateTask['ServiceAnnotations']): void {
  const task = { ...{ ID: 'taskid', ServiceID: 'serviceid', NodeID: 'nodeid', Slot: 1 }, ServiceAnnotations: service };
  const node = { nodeId: 'nodeid', hostname: 'nodeHostname', architecture: 'architecture', os: 'os' };
  expandContainerSpec(spec, templateContext(task, node));
}
