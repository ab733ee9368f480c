import { expect, it } from 'vitest';
import { searchCsv } from './search-csv.ts';

it("writes the original's table", () => {
  const evaluations = [
    { phase: 'stp_0', point: [0.7, 1, 1, 1, 0.5, 1], value: 5.25, numImages: 500 },
    { phase: 'grad_est_3_stp_2', point: [0.7, 1, 1, 1.1, 0.5, 1], value: 5, numImages: 500 },
  ];
  const text = searchCsv(evaluations, { numSteps: 2, numImages: 500, rates: [0.001, 0.1] });
  expect(text.split('\n')).toEqual([
    'phase,manual_ratios,manual_temp,manual_samp_temp,manual_cfg,fid500,lr,iter',
    'stp_0,0.7,1,"(1, 1)","(0.5, 1)",5.25,"(0.001, 0.1)",0',
    'grad_est_3_stp_2,0.7,1,"(1, 1.1)","(0.5, 1)",5,"(0.001, 0.1)",2',
    '',
  ]);
});
