/** Numbers for people: always with their unit, never with more digits than the measurement carries. */

const NONE = "—";

function significant(value: number, digits = 3): string {
  if (value === 0) return "0";
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(decimals, 6));
}

function withUnit(value: number | null | undefined, unit: string): string {
  return value === null || value === undefined || !Number.isFinite(value) ? NONE : `${significant(value)} ${unit}`;
}

export const formatGbps = (gbps: number | null | undefined): string => withUnit(gbps, "Gbit/s");

export function formatPps(packetsPerS: number | null | undefined): string {
  if (packetsPerS === null || packetsPerS === undefined) return NONE;
  if (packetsPerS >= 1e6) return withUnit(packetsPerS / 1e6, "Mpps");
  return packetsPerS >= 1e3 ? withUnit(packetsPerS / 1e3, "kpps") : withUnit(packetsPerS, "pps");
}

export function formatBytes(bytes: number): string {
  if (bytes >= 1 << 20) return `${significant(bytes / (1 << 20))} MiB`;
  return bytes >= 1 << 10 ? `${significant(bytes / (1 << 10))} KiB` : `${bytes} B`;
}

/** A ratio between 0 and 1 as a percentage; small losses keep their digits. */
export function formatRatio(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined) return NONE;
  const percent = ratio * 100;
  if (percent !== 0 && Math.abs(percent) < 0.1) return `${significant(percent, 2)} %`;
  return `${percent.toFixed(1)} %`;
}

/** A relative difference with its sign: "+41.2 %". A real minus sign keeps columns aligned. */
export function formatGain(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return NONE;
  const percent = (Math.abs(ratio) * 100).toFixed(1);
  if (Number(percent) === 0) return "0.0 %";
  return `${ratio < 0 ? "−" : "+"}${percent} %`;
}

export function formatDuration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  if (seconds > 0 && seconds < 0.001) return "< 1 ms";
  if (seconds > 0 && seconds < 0.95) return `${significant(seconds * 1000, seconds < 0.1 ? 2 : 3)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

export function formatCount(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`;
}
