import type { BlockMetrics, StudyCreate } from "../api/types";
import { formatGbps, formatPps } from "../format/numbers";

export type ObjectiveName = NonNullable<StudyCreate["objective"]>;
export type MetricName = "throughput_gbps" | "gbit_per_cpu_s" | "ndr_pps" | "pdr_pps";

export interface Metric {
  name: MetricName;
  label: string;
  unit: string;
  format: (value: number | null | undefined) => string;
}

const efficiency = (value: number | null | undefined): string => formatGbps(value).replace("Gbit/s", "Gbit/CPU-s");

const THROUGHPUT: Metric = { name: "throughput_gbps", label: "Throughput", unit: "Gbit/s", format: formatGbps };
const EFFICIENCY: Metric = { name: "gbit_per_cpu_s", label: "Efficiency", unit: "Gbit per CPU-second", format: efficiency };
const NDR: Metric = { name: "ndr_pps", label: "NDR", unit: "packets/s", format: formatPps };
const PDR: Metric = { name: "pdr_pps", label: "PDR", unit: "packets/s", format: formatPps };

export const METRICS: readonly Metric[] = [THROUGHPUT, EFFICIENCY, NDR, PDR];

export const OBJECTIVE_LABELS: Record<ObjectiveName, string> = {
  throughput: "Throughput",
  efficiency: "Efficiency (Gbit per CPU-second)",
  pareto: "Both (Pareto front)",
  ndr: "Packets/s without loss (NDR)",
  pdr: "Packets/s with at most 0.5% loss (PDR)",
};

const MAIN_METRICS: Record<ObjectiveName, Metric> = {
  throughput: THROUGHPUT,
  efficiency: EFFICIENCY,
  pareto: THROUGHPUT,
  ndr: NDR,
  pdr: PDR,
};

/** The metric that stands on the value axis: a Pareto study has both, and shows the other one in its scatter plot. */
export function mainMetric(objective: ObjectiveName): Metric {
  return MAIN_METRICS[objective];
}

/** One number to rank trials by, as the tuner does: for a Pareto study the geometric mean of both metrics. */
export function scoreOf(objective: ObjectiveName, metrics: BlockMetrics): number | null {
  if (objective !== "pareto") return metrics[mainMetric(objective).name] ?? null;
  if (metrics.gbit_per_cpu_s === null) return null;
  return Math.sqrt(metrics.throughput_gbps * metrics.gbit_per_cpu_s);
}
