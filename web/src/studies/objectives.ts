import type { BlockMetrics, StudyCreate } from "../api/types";
import { formatGbps } from "../format/numbers";

export type ObjectiveName = NonNullable<StudyCreate["objective"]>;
export type MetricName = "throughput_gbps" | "gbit_per_cpu_s";

export interface Metric {
  name: MetricName;
  label: string;
  unit: string;
  format: (value: number | null | undefined) => string;
}

const efficiency = (value: number | null | undefined): string => formatGbps(value).replace("Gbit/s", "Gbit/CPU-s");

const THROUGHPUT: Metric = { name: "throughput_gbps", label: "Throughput", unit: "Gbit/s", format: formatGbps };
const EFFICIENCY: Metric = { name: "gbit_per_cpu_s", label: "Efficiency", unit: "Gbit per CPU-second", format: efficiency };

export const METRICS: readonly Metric[] = [THROUGHPUT, EFFICIENCY];

export const OBJECTIVE_LABELS: Record<ObjectiveName, string> = {
  throughput: "Throughput",
  efficiency: "Efficiency (Gbit per CPU-second)",
  pareto: "Both (Pareto front)",
};

/** The metric that stands on the value axis: a Pareto study has both, and shows the other one in its scatter plot. */
export function mainMetric(objective: ObjectiveName): Metric {
  return objective === "efficiency" ? EFFICIENCY : THROUGHPUT;
}

/** One number to rank trials by, as the tuner does: for a Pareto study the geometric mean of both metrics. */
export function scoreOf(objective: ObjectiveName, metrics: BlockMetrics): number | null {
  if (objective === "throughput") return metrics.throughput_gbps;
  if (objective === "efficiency" || metrics.gbit_per_cpu_s === null) return metrics.gbit_per_cpu_s;
  return Math.sqrt(metrics.throughput_gbps * metrics.gbit_per_cpu_s);
}
