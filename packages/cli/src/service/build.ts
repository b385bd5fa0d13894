import type { ServiceSpec } from '@swarmctl/shared/model';
import type { SpecDraft } from './draft.ts';
import { listFlags } from './list-flags.ts';
import { envFile } from './parse.ts';
import { scalarFlags } from './scalar-flags.ts';

// From parsed flags to a spec: a new one, or the current one with changes.

export type Given = Readonly<Record<string, unknown>>;
type Environment = Readonly<Record<string, string | undefined>>;

const many = (value: unknown): readonly string[] =>
  value === undefined ? [] : (Array.isArray(value) ? value : [value]).map(String);

/** The last value of a flag that was given more than once counts, as with Docker's. */
const last = (value: unknown): unknown => (Array.isArray(value) ? value.at(-1) : value);

export function buildCreateSpec(image: string, args: readonly string[], given: Given, env: Environment): ServiceSpec {
  const spec: SpecDraft = {
    Labels: {},
    TaskTemplate: { ContainerSpec: { Image: image, ...(args.length > 0 && { Args: [...args] }) } },
    Mode: { Replicated: {} },
  };
  applyScalars(spec, given, 'create');
  for (const path of many(given['env-file'])) {
    for (const entry of envFile('env-file', path, env)) listFlags(env)[0]?.add(spec, entry, 'env-file');
  }
  for (const flag of listFlags(env)) {
    for (const value of many(given[flag.name])) flag.add(spec, value, flag.name);
  }
  return spec;
}

export function buildUpdateSpec(current: ServiceSpec, given: Given, env: Environment): ServiceSpec {
  const spec = structuredClone(current) as SpecDraft;
  for (const flag of listFlags(env)) {
    for (const value of many(given[`${flag.name}-rm`])) flag.remove(spec, value, `${flag.name}-rm`);
  }
  applyScalars(spec, given, 'update');
  for (const flag of listFlags(env)) {
    for (const value of many(given[`${flag.name}-add`])) flag.add(spec, value, `${flag.name}-add`);
  }
  if (last(given['force']) === true) {
    spec.TaskTemplate ??= {};
    spec.TaskTemplate.ForceUpdate = (spec.TaskTemplate.ForceUpdate ?? 0) + 1;
  }
  return spec;
}

function applyScalars(spec: SpecDraft, given: Given, command: 'create' | 'update'): void {
  // `mode` comes first: `replicas` is checked against it.
  for (const flag of scalarFlags) {
    const value = last(given[flag.name]);
    if (value === undefined || (flag.only && flag.only !== command)) continue;
    flag.set(spec, String(value), flag.name);
  }
}
