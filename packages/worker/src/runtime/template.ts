import { messageOf } from '@swarmctl/shared/kit';
import {
  type ContainerSpec,
  expandContainerSpec as expandSpec,
  type Task,
  type TemplateContext,
  templateContext,
} from '@swarmctl/shared/model';
import { RuntimeError, type RuntimeNode } from './types.ts';

// Go templates of tasks on this node: `{{.Service.Name}}`, `{{index .Service.Labels "a.b"}}`, `{{if eq .Task.Slot "1"}}…{{end}}`, … (shared/src/model/templates).

/** The machine's architecture by the name that engines use. */
export const machine = (): string =>
  (({ x64: 'x86_64', arm64: 'aarch64', arm: 'armv7l', ia32: 'i686' }) as Record<string, string>)[process.arch] ??
  process.arch;

/** `type`: what Docker's messages call what templates of this sort may name. */
export const contextOf = (task: Task, { nodeId, hostname }: RuntimeNode, type?: string): TemplateContext =>
  templateContext(
    { ...task, NodeID: nodeId },
    { nodeId, hostname, architecture: machine(), os: process.platform },
    type,
  );

/** Environment, hostname and mounts with their templates filled in. Throws a permanent RuntimeError. */
export function expandContainerSpec(spec: ContainerSpec, task: Task, node: RuntimeNode): ContainerSpec {
  try {
    return expandSpec(spec, contextOf(task, node));
  } catch (error) {
    throw new RuntimeError(messageOf(error), { permanent: true });
  }
}
