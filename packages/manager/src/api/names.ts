import { below, type Random } from '@swarmctl/shared/kit';

// A name for a service that was made without one.

const moods = [
  'able',
  'bold',
  'brisk',
  'calm',
  'clear',
  'deft',
  'eager',
  'fair',
  'fond',
  'glad',
  'keen',
  'kind',
  'lucid',
  'merry',
  'quick',
  'quiet',
  'sharp',
  'sound',
  'sunny',
  'warm',
];
const beings = [
  'badger',
  'beaver',
  'bison',
  'crane',
  'dolphin',
  'falcon',
  'finch',
  'gecko',
  'heron',
  'ibis',
  'lemur',
  'lynx',
  'marten',
  'newt',
  'otter',
  'panda',
  'raven',
  'seal',
  'tapir',
  'wren',
];

export const randomName = (random: Random): string =>
  `${moods[below(random, moods.length)]}-${beings[below(random, beings.length)]}-${below(random, 10_000)}`;
