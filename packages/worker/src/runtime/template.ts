import type { ContainerSpec, Mount, Task } from '@swarmctl/shared/model';
import { taskName } from './identity.ts';
import { RuntimeError, type RuntimeNode } from './types.ts';

// Go-style templates in environment, mounts and hostname: `{{.Service.Name}}`, `{{index .Service.Labels "a.b"}}`, … The part of Go's
// language that Swarm's users use; anything else is an error that names the place, never silently passed on.

type Value = string | { readonly [name: string]: Value };

/** What templates can name, as in Swarm. */
export function templateContext(task: Task, node: RuntimeNode): Value {
  const slot = String(task.Slot || task.NodeID || '');
  return {
    Service: {
      ID: task.ServiceID,
      Name: task.ServiceAnnotations.Name,
      Labels: task.ServiceAnnotations.Labels,
    },
    Node: { ID: node.nodeId, Hostname: node.hostname, Platform: { Architecture: machine(), OS: process.platform } },
    Task: { ID: task.ID, Name: taskName(task), Slot: slot },
  };
}

/** The machine's architecture by the name that engines use. */
export const machine = (): string =>
  (({ x64: 'x86_64', arm64: 'aarch64', arm: 'armv7l', ia32: 'i686' }) as Record<string, string>)[process.arch] ??
  process.arch;

export function expand(text: string, context: Value): string {
  if (!text.includes('{{')) return text;
  let result = '';
  let rest = text;
  for (let open = rest.indexOf('{{'); open >= 0; open = rest.indexOf('{{')) {
    const close = rest.indexOf('}}', open);
    if (close < 0) throw bad(text, 'unclosed action');
    let action = rest.slice(open + 2, close);
    let before = rest.slice(0, open);
    let after = rest.slice(close + 2);
    if (/^-\s/.test(action)) [before, action] = [before.trimEnd(), action.slice(1)];
    if (/\s-$/.test(action)) [after, action] = [after.trimStart(), action.slice(0, -1)];
    result += before + evaluate(action.trim(), context, text);
    rest = after;
  }
  return result + rest;
}

/** Environment, hostname and mounts with their templates filled in. */
export function expandContainerSpec(spec: ContainerSpec, task: Task, node: RuntimeNode): ContainerSpec {
  const context = templateContext(task, node);
  const fill = (text: string) => expand(text, context);
  return {
    ...spec,
    ...(spec.Env && { Env: spec.Env.map(fill) }),
    ...(spec.Hostname && { Hostname: fill(spec.Hostname) }),
    ...(spec.Mounts && { Mounts: spec.Mounts.map((mount) => expandMount(mount, fill)) }),
  };
}

function expandMount(mount: Mount, fill: (text: string) => string): Mount {
  const fillAll = (map: Record<string, string>) =>
    Object.fromEntries(Object.entries(map).map(([key, value]) => [key, fill(value)]));
  const volume = mount.VolumeOptions;
  const driver = volume?.DriverConfig;
  return {
    ...mount,
    ...(mount.Source && { Source: fill(mount.Source) }),
    ...(mount.Target && { Target: fill(mount.Target) }),
    ...(volume && {
      VolumeOptions: {
        ...volume,
        ...(volume.Labels && { Labels: fillAll(volume.Labels) }),
        ...(driver?.Options && { DriverConfig: { ...driver, Options: fillAll(driver.Options) } }),
      },
    }),
  };
}

function evaluate(action: string, context: Value, text: string): string {
  const literal = /^(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)$/.exec(action);
  if (literal) return literal[2] ?? unquote(literal[1] ?? '');
  const index = /^index\s+(\.[\w.]+)\s+(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)$/.exec(action);
  if (index) {
    const map = look(index[1] ?? '', context, text);
    const key = index[3] ?? unquote(index[2] ?? '');
    if (typeof map === 'string') throw bad(text, `cannot index ${index[1]}`);
    // Go's `index` gives a missing key's zero value, a field of a map `<no value>`.
    return show(Object.hasOwn(map, key) ? (map[key] ?? '') : '');
  }
  if (!/^(\.\w+)+$/.test(action)) throw bad(text, `'${action}' is not supported; write a field such as .Service.Name`);
  return show(look(action, context, text));
}

function look(path: string, context: Value, text: string): Value {
  let value = context;
  const names = path.split('.').slice(1);
  for (const [i, name] of names.entries()) {
    if (typeof value === 'string') throw bad(text, `can't evaluate field ${name} of ${path}`);
    if (!Object.hasOwn(value, name)) {
      // Only labels may lack a name.
      if (i === 2 && names[1] === 'Labels') return '<no value>';
      throw bad(text, `can't evaluate field ${name} of ${path}`);
    }
    value = value[name] ?? '';
  }
  return value;
}

const show = (value: Value): string =>
  typeof value === 'string'
    ? value
    : `map[${Object.entries(value)
        .map(([key, item]) => `${key}:${show(item)}`)
        .sort()
        .join(' ')}]`;

const unquote = (text: string): string => text.replace(/\\(["\\])/g, '$1');

const bad = (text: string, problem: string) =>
  new RuntimeError(`template: ${JSON.stringify(text)}: ${problem}`, { permanent: true });
