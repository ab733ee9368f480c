/** Text for HTML and SVG, in element content and in quoted attributes. */

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export function escapeHtml(text: string): string {
  // Control characters are errors in HTML, escaped or not.
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]!).replace(/(?![\t\n])\p{Cc}/gu, '\ufffd');
}
