import { ClusterError } from '@swarmctl/shared/kit';
import {
  certificateNames,
  isTerminal,
  type Payload,
  type PayloadKind,
  payloadNamed,
  payloadReferences,
  payloadTables,
  type Service,
  type ServiceSpec,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';
import { lookUp } from './query.ts';

// Secrets and configs as services use them.

export const payloadKinds = ['secret', 'config'] as const satisfies readonly PayloadKind[];

export const invalid = (message: string) =>
  new ClusterError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);

export const findPayload = (view: View, kind: PayloadKind, reference: string): Payload =>
  lookUp(
    kind,
    reference,
    (id) => view.get(payloadTables[kind], id),
    view.list(payloadTables[kind]),
    (payload) => payload.Spec.Name,
  );

/** Throws when the spec names a secret or a config that is not there, by its id and its name, or for a certificate. */
export function checkPayloadsExist(view: View, spec: ServiceSpec): void {
  const references = payloadReferences(spec.TaskTemplate?.ContainerSpec);
  for (const kind of payloadKinds) {
    const missing = references
      .filter((one) => one.kind === kind && view.get(payloadTables[kind], one.id)?.Spec.Name !== one.name)
      .map(({ name }) => name);
    const certificates = kind === 'secret' ? certificateNames(spec) : [];
    missing.push(...certificates.filter((name) => !payloadNamed(view.list('secrets'), name)));
    if (missing.length > 0) throw invalid(`${kind}${missing.length > 1 ? 's' : ''} not found: ${missing.join(', ')}`);
  }
}

const names = (spec: ServiceSpec | undefined, id: string): boolean =>
  payloadReferences(spec?.TaskTemplate?.ContainerSpec).some((reference) => reference.id === id);

const takesCertificate = (view: View, spec: Service['Spec'] | undefined, id: string): boolean =>
  certificateNames(spec ?? {}).some((name) => payloadNamed(view.list('secrets'), name)?.ID === id);

/** Services whose spec names the secret or config. */
export const usersOf = (view: View, id: string): Service[] =>
  view.list('services').filter(({ Spec }) => names(Spec, id) || takesCertificate(view, Spec, id));

/** A spec, one that a rollback would bring back, or a task that has not ended names it. */
export const isNeeded = (view: View, id: string): boolean =>
  view
    .list('services')
    .some(({ Spec, PreviousSpec }) =>
      [Spec, PreviousSpec].some((spec) => names(spec, id) || takesCertificate(view, spec, id)),
    ) || view.list('tasks').some(({ Spec, Status }) => !isTerminal(Status.State) && names({ TaskTemplate: Spec }, id));
