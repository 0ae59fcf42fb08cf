/** What people type into a form, as values of the API. Judging them is the service's work; its answer names the field. */

/** NaN for text that is no number; JSON has no NaN, so the service then sees null and says what it wants. */
export function numberOf(text: string): number {
  const trimmed = text.trim();
  return trimmed === "" ? Number.NaN : Number(trimmed);
}

/** A number, or null where the field was left empty. */
export function optionalNumberOf(text: string): number | null {
  return text.trim() === "" ? null : numberOf(text);
}

/** "near, packed apart" → ["near", "packed apart"]; null where the field was left empty. */
export function textListOf(text: string): string[] | null {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  return parts.length === 0 ? null : parts;
}

/** "1, 2, 4" → [1, 2, 4]; null where the field was left empty: not narrowed. */
export function numberListOf(text: string): number[] | null {
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  return parts.length === 0 ? null : parts.map(numberOf);
}
