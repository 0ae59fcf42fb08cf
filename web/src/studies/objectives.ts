import type { BlockMetrics, StudyCreate } from "../api/types";
import { formatGbps, formatPps } from "../format/numbers";

export type ObjectiveName = NonNullable<StudyCreate["objective"]>;
export type MetricName = "throughput_gbps" | "gbit_per_cpu_s" | "latency_p99_ms" | "packets_per_s" | "ndr_pps" | "pdr_pps";

export interface Metric {
  name: MetricName;
  label: string;
  unit: string;
  format: (value: number | null | undefined) => string;
}

const efficiency = (value: number | null | undefined): string => formatGbps(value).replace("Gbit/s", "Gbit/CPU-s");

const milliseconds = (value: number | null | undefined): string => (value == null ? "–" : `${value.toPrecision(3)} ms`);

const THROUGHPUT: Metric = { name: "throughput_gbps", label: "Throughput", unit: "Gbit/s", format: formatGbps };
const EFFICIENCY: Metric = { name: "gbit_per_cpu_s", label: "Efficiency", unit: "Gbit per CPU-second", format: efficiency };
const LATENCY: Metric = { name: "latency_p99_ms", label: "p99 latency under load", unit: "ms", format: milliseconds };
const PACKET_RATE: Metric = { name: "packets_per_s", label: "Packets at 64 B", unit: "packets/s", format: formatPps };
const NDR: Metric = { name: "ndr_pps", label: "NDR", unit: "packets/s", format: formatPps };
const PDR: Metric = { name: "pdr_pps", label: "PDR", unit: "packets/s", format: formatPps };

export const METRICS: readonly Metric[] = [THROUGHPUT, EFFICIENCY, LATENCY, PACKET_RATE, NDR, PDR];

export const OBJECTIVE_LABELS: Record<ObjectiveName, string> = {
  throughput: "Throughput",
  efficiency: "Efficiency (Gbit per CPU-second)",
  latency: "p99 latency under load",
  packet_rate: "Packets/s at 64 B",
  pareto: "Throughput and efficiency (Pareto front)",
  pareto_latency: "Throughput and p99 latency (Pareto front)",
  ndr: "Packets/s without loss (NDR)",
  pdr: "Packets/s with at most 0.5% loss (PDR)",
};

const MAIN_METRICS: Record<ObjectiveName, Metric> = {
  throughput: THROUGHPUT,
  efficiency: EFFICIENCY,
  latency: LATENCY,
  packet_rate: PACKET_RATE,
  pareto: THROUGHPUT,
  pareto_latency: THROUGHPUT,
  ndr: NDR,
  pdr: PDR,
};

/** The metric that stands on the value axis: a Pareto study has both, and shows the other one in its scatter plot. */
export function mainMetric(objective: ObjectiveName): Metric {
  return MAIN_METRICS[objective];
}

/** One number to rank trials by, larger is better, as the tuner does: the geometric mean of the objective's metrics, of
 *  those to minimise inverted. */
export function scoreOf(objective: ObjectiveName, metrics: BlockMetrics): number | null {
  const value = metrics[mainMetric(objective).name] ?? null;
  if (value === null || objective === "latency") return value === null ? null : 1 / value;
  if (objective === "pareto") return metrics.gbit_per_cpu_s === null ? null : Math.sqrt(value * metrics.gbit_per_cpu_s);
  if (objective === "pareto_latency") return metrics.latency_p99_ms == null ? null : Math.sqrt(value / metrics.latency_p99_ms);
  return value;
}
