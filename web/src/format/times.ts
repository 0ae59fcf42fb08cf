const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

const STEPS: readonly [limit_s: number, unit_s: number, unit: Intl.RelativeTimeFormatUnit][] = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86400, 3600, "hour"],
  [Number.POSITIVE_INFINITY, 86400, "day"],
];

export function formatTimestamp(iso: string): string {
  return absolute.format(new Date(iso));
}

/** "5 minutes ago", seen from `now_ms`. */
export function formatAgo(iso: string, now_ms: number): string {
  const elapsed_s = (new Date(iso).getTime() - now_ms) / 1000;
  for (const [limit_s, unit_s, unit] of STEPS) {
    if (Math.abs(elapsed_s) < limit_s) return relative.format(Math.round(elapsed_s / unit_s), unit);
  }
  return absolute.format(new Date(iso));
}
