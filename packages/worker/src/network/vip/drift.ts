import type { Turns } from './plan.ts';

// What a container's table says, read from nft's own listing, to see whether others have changed it. Pure.

export interface Listed {
  readonly turns: Turns;
  /** All that does not depend on services. */
  readonly fixed: string;
  /** Chains that nothing leads to. */
  readonly strays: number;
}

const serviceChain = /\n\tchain (v_\w+) \{\n([\s\S]*?)\n\t\}\n/g;
const elementList = /\n\t\telements = \{([^}]*)\}/g;

export function readListing(text: string): Listed {
  const chains = new Map<string, readonly string[]>();
  for (const [, name = '', body = ''] of text.matchAll(serviceChain)) chains.set(name, targetsOf(body));
  const turns = new Map<string, readonly string[]>();
  for (const [, list = ''] of text.matchAll(elementList)) {
    for (const element of list.split(',').map((one) => one.trim())) {
      const [, vip = element, chain] = /^(\S+) : goto (\S+)$/.exec(element) ?? [];
      turns.set(vip, chain === undefined ? [] : (chains.get(chain) ?? []));
      if (chain !== undefined) chains.delete(chain);
    }
  }
  const fixed = text.replaceAll(serviceChain, '\n').replaceAll(elementList, '').replaceAll(/\s+/g, ' ').trim();
  return { turns, fixed, strays: chains.size };
}

/** Of one rule that sends to them by turns; nothing for a chain that holds anything else. */
function targetsOf(body: string): readonly string[] {
  const [, one, , count, list] =
    /^\s*dnat ip6? to (?:([0-9a-f.:]+)|(numgen inc mod (\d+) map \{([^}]*)\}))\s*$/.exec(body) ?? [];
  if (one !== undefined) return [one];
  const targets = (list ?? '').split(',').flatMap((text) => /^\s*\d+ : (\S+)\s*$/.exec(text)?.[1] ?? []);
  return targets.length === Number(count) ? targets : [];
}

/** What is listed is what was written: each address with the same tasks in the same order, and nothing else. */
export const isAsWritten = ({ turns, strays }: Listed, written: Turns): boolean =>
  strays === 0 &&
  turns.size === written.size &&
  [...written].every(([vip, targets]) => {
    const found = turns.get(vip);
    return found?.length === targets.length && targets.every((addr, i) => found[i] === addr);
  });
