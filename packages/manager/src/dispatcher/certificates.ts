import { certificateNames, payloadNamed } from '@swarmctl/shared/model';
import type { AlsoNeeded } from './payloads.ts';

// Every node answers on every published port, so each needs the certificates of those of HTTP.

export const certificateSecrets: AlsoNeeded = (view) => {
  const names = new Set(view.list('services').flatMap(({ Spec }) => certificateNames(Spec)));
  if (names.size === 0) return [];
  const secrets = view.list('secrets');
  return [...names].flatMap((name) => payloadNamed(secrets, name)?.ID ?? []);
};
