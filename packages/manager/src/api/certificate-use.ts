import { ClusterError, checkCertificate } from '@swarmctl/shared/kit';
import {
  certificatesOf,
  type Payload,
  type PayloadKind,
  payloadNamed,
  type Service,
  type ServiceSpec,
} from '@swarmctl/shared/model';
import type { View } from '../store/types.ts';

// Secrets that are certificates of published ports. Their content goes to every node, so one that is no certificate is refused before it does.

type Secret = Pick<Payload, 'ID' | 'Spec'>;

/** What is wrong with a certificate as the nodes will find it: the texts of all its secrets together. That there are such secrets has been checked. */
function problemOf(secrets: readonly Secret[], names: readonly string[]): string | undefined {
  const texts = names
    .flatMap((name) => payloadNamed(secrets, name) ?? [])
    .map(({ Spec }) => Buffer.from(Spec.Data, 'base64').toString('utf8'));
  const checked = checkCertificate(texts.join('\n'));
  return 'problem' in checked ? checked.problem : undefined;
}

const right = 'expected a certificate chain and its private key in PEM';
const called = (names: readonly string[]) => `secret${names.length > 1 ? 's' : ''} ${names.join(', ')}`;

/** Throws `invalid-argument` when a certificate that the spec asks for is none. */
export function checkCertificates(view: View, spec: ServiceSpec): void {
  for (const names of certificatesOf(spec)) {
    const problem = problemOf(view.list('secrets'), names);
    if (problem === undefined) continue;
    const message = `label 'swarmctl.http.tls': ${called(names)} cannot be a certificate: ${problem}; ${right}`;
    throw new ClusterError('invalid-argument', message, { label: 'swarmctl.http.tls' });
  }
}

/**
 * Of a secret that is yet to be written, and that services would follow since it is a newer version of theirs. Throws `failed-precondition` when it
 * alone is to be a certificate and is none. Where several secrets are one together, each is written for itself: then a warning is returned for
 * each service whose nodes stay with what they have until the others have come.
 */
export function checkFollowed(view: View, kind: PayloadKind, next: Secret): string[] {
  if (kind !== 'secret') return [];
  const secrets: readonly Secret[] = [...view.list('secrets').filter(({ ID }) => ID !== next.ID), next];
  return view.list('services').flatMap((service) =>
    followedBy(service, secrets, next).flatMap((names) => {
      const problem = problemOf(secrets, names);
      if (problem === undefined) return [];
      if (names.length > 1) {
        return `service ${service.Spec.Name}: its nodes keep the certificate before until ${called(names)} are one together: ${problem}`;
      }
      throw new ClusterError(
        'failed-precondition',
        `secret ${next.Spec.Name} would be the certificate of service ${service.Spec.Name}, by its label swarmctl.http.tls, and cannot: ${problem}; ${right}`,
      );
    }),
  );
}

const followedBy = ({ Spec }: Service, secrets: readonly Secret[], next: Secret): (readonly string[])[] =>
  certificatesOf(Spec).filter((names) => names.some((name) => payloadNamed(secrets, name)?.ID === next.ID));
