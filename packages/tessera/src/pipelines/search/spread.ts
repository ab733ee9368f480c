/** Which of many things the images of an evaluation are of, when there are fewer images. */

/** Its multiples fall evenly between whole numbers. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Place in 0 .. `among` − 1 of image i of `numImages`: evenly from first to last, at others for another block of noise. */
export function spreadPlace(image: number, numImages: number, among: number, seedBlock: number): number {
  return Math.floor(((image + ((seedBlock * GOLDEN) % 1)) * among) / numImages);
}
