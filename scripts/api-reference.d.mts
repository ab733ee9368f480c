export const REFERENCES: readonly string[];
export function renderReferences(): Map<string, string>;
