import { describe } from 'vitest';
import { missingForDocker } from '../kit/cluster.ts';
import { scenarios } from './scenarios.ts';

const missing = missingForDocker();

describe.skipIf(missing)(
  `three managers and two workers on Docker${missing ? ` (skipped: ${missing} is missing)` : ''}`,
  () => scenarios('docker'),
);
