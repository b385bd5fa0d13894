// What things of a stack are called, exactly as Docker calls them: so each tool finds the other's stacks.

/** On everything that belongs to a stack: its name. */
export const namespaceLabel = 'com.docker.stack.namespace';

/** On its services: the image as the file has it, without a digest that a client put there. */
export const imageLabel = 'com.docker.stack.image';

export const scoped = (stack: string, name: string): string => `${stack}_${name}`;

export const withNamespace = (labels: Readonly<Record<string, string>>, stack: string): Record<string, string> => ({
  ...labels,
  [namespaceLabel]: stack,
});

export interface Declared {
  readonly name?: string;
  readonly external?: boolean | { readonly name?: string };
}

/** Somebody else's, which must be there already. */
export const isExternal = ({ external }: Declared): boolean => external !== undefined && external !== false;

/** Of an external one, if the file says it; else it is the key. */
export const externalName = ({ name, external }: Declared): string | undefined =>
  typeof external === 'object' ? (external.name ?? name) : name;

/** Of what is declared under `key`. */
export const nameOf = (stack: string, key: string, declared: Declared): string =>
  isExternal(declared) ? (externalName(declared) ?? key) : (declared.name ?? scoped(stack, key));

/** Throws nothing: what is wrong with the name of a stack, if anything. */
export const wrongStackName = (name: string): string | undefined =>
  /^[a-zA-Z0-9](?:[-_.a-zA-Z0-9]*[a-zA-Z0-9])?$/.test(name)
    ? undefined
    : `invalid stack name '${name}': it has letters, digits, dots, dashes and underscores, and begins and ends with a letter or digit`;

/** What is declared under a key; nothing of what every object has. */
export const declaredAs = <T>(table: Readonly<Record<string, T>> | undefined, key: string): T | undefined =>
  table && Object.hasOwn(table, key) ? table[key] : undefined;
