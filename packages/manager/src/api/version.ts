import { ClusterError } from '@swarmctl/shared/kit';
import {
  type InitRequest,
  isJobMode,
  type NetworkCreateRequest,
  type PayloadKind,
  type PayloadSpec,
  type ServiceSpec,
} from '@swarmctl/shared/model';
import type { FastifyReply, FastifyRequest } from 'fastify';

// The versions of the API that clients may speak, 1.24 to 1.50: `/v1.41/services` is of 1.41, a path without one of the newest. What a version
// had not yet is passed over in requests, as any field that nobody knows, and left out of answers where clients compare.

const newest = 50;
const oldest = 24;
export const apiVersion = `1.${newest}`;
export const minApiVersion = `1.${oldest}`;

const prefix = /^\/v(\d+)(?:\.(\d+))?(?=\/)/;

export const withoutVersion = (url: string): string => url.replace(prefix, '');

/** The second number of the version that the request is of. */
export function minorOf(request: FastifyRequest): number {
  const given = prefix.exec(request.originalUrl);
  return given ? Number(given[2] ?? 0) : newest;
}

/** Answers a request of a version that is not spoken. Those before 1.23 read errors as plain text. */
export function refuseVersion(request: FastifyRequest, reply: FastifyReply): FastifyReply | undefined {
  const given = prefix.exec(request.originalUrl);
  if (!given) return undefined;
  const major = Number(given[1]);
  const minor = Number(given[2] ?? 0);
  const text = given[0].slice('/v'.length);
  if (major > 1 || (major === 1 && minor > newest)) {
    throw new ClusterError(
      'invalid-argument',
      `client version ${text} is too new. Maximum supported API version is ${apiVersion}`,
    );
  }
  if (major === 1 && minor >= oldest) return undefined;
  const message = `client version ${text} is too old. Minimum supported API version is ${minApiVersion}, please upgrade your client to a newer version`;
  return reply
    .status(400)
    .headers({ 'content-type': 'text/plain; charset=utf-8', 'x-content-type-options': 'nosniff' })
    .send(`${message}\n`);
}

type Since = readonly (readonly [minor: number, path: string])[];

const serviceFields: Since = [
  [40, 'TaskTemplate.ContainerSpec.Sysctls'],
  [40, 'TaskTemplate.ContainerSpec.Privileges.CredentialSpec.Config'],
  [40, 'TaskTemplate.ContainerSpec.Configs.Runtime'],
  [40, 'TaskTemplate.Placement.MaxReplicas'],
  [41, 'TaskTemplate.ContainerSpec.CapabilityAdd'],
  [41, 'TaskTemplate.ContainerSpec.CapabilityDrop'],
  [41, 'TaskTemplate.ContainerSpec.Ulimits'],
  [41, 'TaskTemplate.Resources.Limits.Pids'],
  [44, 'TaskTemplate.ContainerSpec.Privileges.Seccomp'],
  [44, 'TaskTemplate.ContainerSpec.Privileges.AppArmor'],
  [44, 'TaskTemplate.ContainerSpec.Privileges.NoNewPrivileges'],
  [44, 'TaskTemplate.ContainerSpec.Healthcheck.StartInterval'],
  [46, 'TaskTemplate.ContainerSpec.OomScoreAdj'],
  [46, 'TaskTemplate.ContainerSpec.Mounts.TmpfsOptions.Options'],
];

const initFields: Since = [
  [39, 'DefaultAddrPool'],
  [39, 'SubnetSize'],
  [40, 'DataPathPort'],
];

const networkFields: Since = [[48, 'EnableIPv4']];

/** Throws for a job, which a client of that version would take for a service that does not come up. */
export function serviceAsOf(minor: number, spec: ServiceSpec): ServiceSpec {
  if (minor < 41 && isJobMode(spec.Mode)) {
    throw new ClusterError('invalid-argument', `jobs need API version 1.41, and the client speaks 1.${minor}`);
  }
  return without(serviceFields, minor, spec);
}

/** Throws in Docker's words: content that is taken as it is where its writer meant a template would be another. */
export function checkTemplatingKnown(minor: number, kind: PayloadKind, { Templating }: PayloadSpec): void {
  if (minor >= 37 || !Templating) return;
  throw new ClusterError(
    'invalid-argument',
    `${kind} templating is not supported on the specified API version: 1.${minor}`,
  );
}

export const initAsOf = (minor: number, request: InitRequest): InitRequest => without(initFields, minor, request);

export const networkAsOf = (minor: number, request: NetworkCreateRequest): NetworkCreateRequest =>
  without(networkFields, minor, request);

export const networkShownTo = <T extends object>(minor: number, network: T): T =>
  without(networkFields, minor, network);

function without<T extends object>(fields: Since, minor: number, value: T): T {
  return fields
    .filter(([since]) => minor < since)
    .reduce<unknown>((rest, [, path]) => omit(rest, path.split('.')), value) as T;
}

function omit(value: unknown, [key = '', ...rest]: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => omit(item, [key, ...rest]));
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return value;
  const { [key]: member, ...others } = value as Record<string, unknown>;
  return rest.length === 0 ? others : { ...others, [key]: omit(member, rest) };
}
