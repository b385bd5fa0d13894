import type { ServiceSpec } from '@swarmctl/shared/model';

// A service's spec while flags write into it: each of these is a part of it, made on the way when it is missing.

type Mutable<T> = T extends readonly (infer I)[]
  ? Mutable<I>[]
  : T extends object
    ? { -readonly [K in keyof T]: Mutable<T[K]> }
    : T;

export type SpecDraft = Mutable<ServiceSpec>;

export const template = (spec: SpecDraft) => {
  spec.TaskTemplate ??= {};
  return spec.TaskTemplate;
};
export const container = (spec: SpecDraft) => {
  const task = template(spec);
  task.ContainerSpec ??= {};
  return task.ContainerSpec;
};
export const resources = (spec: SpecDraft, kind: 'Limits' | 'Reservations') => {
  const task = template(spec);
  task.Resources ??= {};
  task.Resources[kind] ??= {};
  return task.Resources[kind];
};
export const limits = (spec: SpecDraft) =>
  resources(spec, 'Limits') as NonNullable<NonNullable<NonNullable<SpecDraft['TaskTemplate']>['Resources']>['Limits']>;
export const restart = (spec: SpecDraft) => {
  const task = template(spec);
  task.RestartPolicy ??= {};
  return task.RestartPolicy;
};
export const health = (spec: SpecDraft) => {
  const one = container(spec);
  one.Healthcheck ??= {};
  return one.Healthcheck;
};
export const placement = (spec: SpecDraft) => {
  const task = template(spec);
  task.Placement ??= {};
  return task.Placement;
};
export const logDriver = (spec: SpecDraft) => {
  const task = template(spec);
  task.LogDriver ??= {};
  return task.LogDriver;
};
export const dns = (spec: SpecDraft) => {
  const one = container(spec);
  one.DNSConfig ??= {};
  return one.DNSConfig;
};
export const endpoint = (spec: SpecDraft) => {
  spec.EndpointSpec ??= {};
  return spec.EndpointSpec;
};
export const config = (spec: SpecDraft, kind: 'UpdateConfig' | 'RollbackConfig') => {
  spec[kind] ??= { Parallelism: 1 };
  return spec[kind];
};
export const labels = (spec: SpecDraft) => {
  spec.Labels ??= {};
  return spec.Labels;
};

export const logOptions = (spec: SpecDraft) => {
  const driver = logDriver(spec);
  driver.Options ??= {};
  return driver.Options;
};
export const containerLabels = (spec: SpecDraft) => {
  const one = container(spec);
  one.Labels ??= {};
  return one.Labels;
};
export const sysctls = (spec: SpecDraft) => {
  const one = container(spec);
  one.Sysctls ??= {};
  return one.Sysctls;
};
