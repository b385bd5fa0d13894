import { describe } from 'vitest';
import { scenarios } from './scenarios.ts';

describe('three managers and two workers on the process runtime', () => scenarios('process'));
