export * from './noise.ts';
export * from './philox.ts';
export * from './portable-math.ts';
export * from './schedule-error.ts';
