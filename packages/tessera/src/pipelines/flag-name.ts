/** Options as they are typed. */

/** Such as `num-steps` of `numSteps`. */
export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Such as `--num-steps`. */
export function flagName(name: string): string {
  return `--${kebabCase(name)}`;
}
