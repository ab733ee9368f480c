export * from './draws.ts';
export * from './epoch-order.ts';
export * from './noise.ts';
export * from './philox.ts';
export * from './portable-math.ts';
export * from './schedule-error.ts';
