import type { Cluster } from './objects.ts';

// The cluster's root while it stays, and while it hands over to the next.

type RootCa = Pick<Cluster['RootCA'], 'Certificate' | 'Key' | 'Rotation'>;

/** Who signs: the next root as soon as there is one. */
export function signerOf({ Certificate, Key, Rotation }: RootCa): {
  readonly certificate: string;
  readonly key: string;
} {
  return { certificate: Rotation?.Certificate ?? Certificate, key: Rotation?.Key ?? Key };
}

/** Whom to trust, PEM: the root, and the next one behind it. The last signs. */
export const trustedRoots = ({ Certificate, Rotation }: RootCa): string => Certificate + (Rotation?.Certificate ?? '');

/** A leaf of the signer's as it is shown to those that may know the root alone. */
export const withCrossSigned = (leaf: string, { Rotation }: RootCa): string => leaf + (Rotation?.CrossSigned ?? '');
