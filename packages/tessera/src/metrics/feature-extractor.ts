/**
 * What turns pictures into the vectors that distances of distributions are taken between. Its name goes into every
 * result: a distance is comparable only with distances under the same extractor.
 */

import type { Tensor } from '@tessera/torch';

export interface FeatureExtractor {
  /** Such as `inception-pool3` or `local`. */
  readonly name: string;
  /** Width of a feature vector. */
  readonly dim: number;
  /**
   * images — uint8 [N, Y, X, 3], or float32 [N, 3, Y, X] in [0, 1] for pictures that were never rounded to bytes; returns
   * float32 [N, dim] on the CPU, whatever the network's device. The result belongs to the caller's scope.
   */
  features(images: Tensor): Tensor;
}
