import { createPrivateKey, X509Certificate } from 'node:crypto';
import { messageOf } from './errors.ts';

// A certificate with its key as servers of TLS want it (HAProxy among them), from one or more texts of PEM.

export type CheckedCertificate = { readonly pem: string } | { readonly problem: string };

const blocks = /-----BEGIN ([A-Z0-9 ]+)-----[^-]+-----END \1-----/g;

/** The leaf first, then the chain and the key. What is wrong is said without a word of the content. */
export function checkCertificate(text: string): CheckedCertificate {
  const found = [...text.matchAll(blocks)].map(([block, what = '']) => ({ block, what }));
  const chain = found.filter(({ what }) => what === 'CERTIFICATE').map(({ block }) => block);
  const keys = found.filter(({ what }) => what.endsWith('PRIVATE KEY')).map(({ block }) => block);
  const [leaf] = chain;
  const [key] = keys;
  if (leaf === undefined) return { problem: 'it has no certificate in PEM' };
  if (key === undefined || keys.length > 1)
    return { problem: `it has ${key === undefined ? 'no private key' : 'more than one private key'} in PEM` };
  try {
    const isOfKey = new X509Certificate(leaf).checkPrivateKey(createPrivateKey(key));
    if (!isOfKey) return { problem: 'the first certificate is not of this private key' };
    for (const one of chain) new X509Certificate(one);
  } catch (error) {
    return { problem: `it cannot be read: ${messageOf(error)}` };
  }
  return { pem: `${[...chain, key].join('\n')}\n` };
}
