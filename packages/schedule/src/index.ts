export * from './autoregressive.ts';
export * from './draws.ts';
export * from './ema.ts';
export * from './epoch-order.ts';
export * from './halton.ts';
export * from './learning-rate.ts';
export * from './mask-count.ts';
export * from './mask-ratio.ts';
export * from './named-strategies.ts';
export * from './nearest.ts';
export {
  type ExponentialNoise,
  exponentialFromBits,
  fillExponential,
  fillGumbel,
  type GumbelNoise,
  gumbelFromBits,
  type NoiseAddress,
  NoisePurpose,
  noiseBits,
  uniformFromBits,
} from './noise.ts';
export * from './patch-stages.ts';
export * from './philox.ts';
export * from './portable-math.ts';
export { ScheduleError, type ScheduleErrorCode } from './schedule-error.ts';
export * from './strategy.ts';
export * from './strict-config.ts';
