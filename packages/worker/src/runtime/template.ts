import { messageOf } from '@swarmctl/shared/kit';
import { type ContainerSpec, type Mount, slotName, type Task, taskName } from '@swarmctl/shared/model';
import { RuntimeError, type RuntimeNode } from './types.ts';

// Go-style templates in environment, mounts and hostname: `{{.Service.Name}}`, `{{index .Service.Labels "a.b"}}`, … The part of Go's
// language that Swarm's users use; anything else is an error that names the place, never silently passed on. Payloads have functions as well.

export type Value = string | { readonly [name: string]: Value };

/** What a template is expanded with. */
export interface Expansion {
  readonly context: Value;
  /** `{{name "argument"}}`. They throw what is wrong with the argument. */
  readonly functions?: Readonly<Record<string, (argument: string) => string>>;
  /** What errors call the text, which they show otherwise. */
  readonly called?: string;
}

/** What templates can name, as in Swarm. */
export function templateContext(task: Task, node: RuntimeNode): Value {
  return {
    Service: {
      ID: task.ServiceID,
      Name: task.ServiceAnnotations.Name,
      Labels: task.ServiceAnnotations.Labels,
    },
    Node: { ID: node.nodeId, Hostname: node.hostname, Platform: { Architecture: machine(), OS: process.platform } },
    Task: { ID: task.ID, Name: taskName(task), Slot: slotName(task) },
  };
}

/** The machine's architecture by the name that engines use. */
export const machine = (): string =>
  (({ x64: 'x86_64', arm64: 'aarch64', arm: 'armv7l', ia32: 'i686' }) as Record<string, string>)[process.arch] ??
  process.arch;

export function expand(text: string, expansion: Expansion): string {
  if (!text.includes('{{')) return text;
  const bad = (problem: string) => {
    const called = expansion.called ?? JSON.stringify(text);
    return new RuntimeError(`template: ${called}: ${problem}`, { permanent: true });
  };
  let result = '';
  let rest = text;
  for (let open = rest.indexOf('{{'); open >= 0; open = rest.indexOf('{{')) {
    const close = rest.indexOf('}}', open);
    if (close < 0) throw bad('unclosed action');
    let action = rest.slice(open + 2, close);
    let before = rest.slice(0, open);
    let after = rest.slice(close + 2);
    if (/^-\s/.test(action)) [before, action] = [before.replace(/[ \t\r\n]+$/, ''), action.slice(1)];
    if (/\s-$/.test(action)) [after, action] = [after.replace(/^[ \t\r\n]+/, ''), action.slice(0, -1)];
    result += before + evaluate(action.trim(), expansion, bad);
    rest = after;
  }
  return result + rest;
}

/** Environment, hostname and mounts with their templates filled in. */
export function expandContainerSpec(spec: ContainerSpec, task: Task, node: RuntimeNode): ContainerSpec {
  const expansion = { context: templateContext(task, node) };
  const fill = (text: string) => expand(text, expansion);
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

type Bad = (problem: string) => RuntimeError;

const literalOf = '(?:"((?:[^"\\\\]|\\\\.)*)"|`([^`]*)`)';
const literalAction = new RegExp(`^${literalOf}$`);
const indexAction = new RegExp(`^index\\s+(\\.[\\w.]+)\\s+${literalOf}$`);
const callAction = new RegExp(`^(\\w+)\\s+${literalOf}$`);
const commentAction = /^\/\*.*\*\/$/s;

function evaluate(action: string, { context, functions = {} }: Expansion, bad: Bad): string {
  if (commentAction.test(action)) return '';
  const literal = literalAction.exec(action);
  if (literal) return textOf(literal[1], literal[2]);
  const index = indexAction.exec(action);
  if (index) {
    const map = look(index[1] ?? '', context, bad);
    const key = textOf(index[2], index[3]);
    if (typeof map === 'string') throw bad(`cannot index ${index[1]}`);
    // Go's `index` gives a missing key's zero value, a field of a map `<no value>`.
    return show(Object.hasOwn(map, key) ? (map[key] ?? '') : '');
  }
  const [, name = '', quoted, raw] = callAction.exec(action) ?? [];
  if (Object.hasOwn(functions, name)) {
    try {
      return functions[name]?.(textOf(quoted, raw)) ?? '';
    } catch (error) {
      throw bad(messageOf(error));
    }
  }
  if (/^(\.\w+)+$/.test(action)) return show(look(action, context, bad));
  const known = Object.keys(functions).map((one) => `${one} "NAME"`);
  throw bad(`'${action}' is not supported; write ${['a field such as .Service.Name', ...known].join(', ')}`);
}

function look(path: string, context: Value, bad: Bad): Value {
  let value = context;
  const names = path.split('.').slice(1);
  for (const [i, name] of names.entries()) {
    if (typeof value === 'string') throw bad(`can't evaluate field ${name} of ${path}`);
    if (!Object.hasOwn(value, name)) {
      // Only labels may lack a name.
      if (i === 2 && names[1] === 'Labels') return '<no value>';
      throw bad(`can't evaluate field ${name} of ${path}`);
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

/** Of a quoted literal, or a raw one. */
const textOf = (quoted: string | undefined, raw: string | undefined): string =>
  raw ?? (quoted ?? '').replace(/\\(["\\])/g, '$1');
