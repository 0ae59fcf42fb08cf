import type { StudyCreate, TrialView } from "../../api/types";
import { formatRatio } from "../../format/numbers";
import { numberOf } from "../../format/input";

type Constraint = StudyCreate["constraints"][number];
export type LimitMetric = Constraint["metric"];
export type ConstraintCheck = TrialView["constraints"][number];

/** A limit as typed into the form. Relative to the baseline it is a percentage of its value. */
export interface LimitText {
  metric: LimitMetric;
  side: "at_most" | "at_least";
  value: string;
  of_baseline: boolean;
}

export interface LimitKind {
  label: string;
  unit: string;
  side: LimitText["side"];
  /** Of one unit of the form in the API's. */
  factor: number;
}

export const LIMIT_KINDS: Record<LimitMetric, LimitKind> = {
  data_plane_cpus: { label: "Data-plane CPUs", unit: "CPUs", side: "at_most", factor: 1 },
  latency_p99_ms: { label: "p99 latency under load", unit: "ms", side: "at_most", factor: 1 },
  loss_ratio: { label: "Loss", unit: "%", side: "at_most", factor: 0.01 },
  throughput_gbps: { label: "Throughput", unit: "Gbit/s", side: "at_least", factor: 1 },
  gbit_per_cpu_s: { label: "Efficiency", unit: "Gbit/CPU-s", side: "at_least", factor: 1 },
  packets_per_s: { label: "Packets at 64 B", unit: "pps", side: "at_least", factor: 1 },
  ndr_pps: { label: "NDR", unit: "pps", side: "at_least", factor: 1 },
  pdr_pps: { label: "PDR", unit: "pps", side: "at_least", factor: 1 },
};

export const LIMIT_DEFAULTS: LimitText = { metric: "data_plane_cpus", side: "at_most", value: "110", of_baseline: true };

export function constraintOf({ metric, side, value, of_baseline }: LimitText): Constraint {
  const factor = of_baseline ? 0.01 : LIMIT_KINDS[metric].factor;
  return { metric, [side]: Number((numberOf(value) * factor).toPrecision(12)), of_baseline };
}

/** A limit on latency needs its probe, whatever is optimised. */
export const limitsLatency = (limits: readonly LimitText[]): boolean => limits.some(({ metric }) => metric === "latency_p99_ms");

/** "8.1 of at most 11.5 CPUs, kept"; what was not measured says so. */
export function checkInWords({ constraint, value, limit, violation }: ConstraintCheck): string {
  if (value === null || limit === null) return "not measured";
  const { unit, factor } = LIMIT_KINDS[constraint.metric];
  const shown = (one: number) => Number((one / factor).toPrecision(3)).toLocaleString("en");
  const side = constraint.at_most == null ? "at least" : "at most";
  const stands = violation > 0 ? `${formatRatio(violation)} beyond` : "kept";
  return `${shown(value)} of ${side} ${shown(limit)} ${unit}, ${stands}`;
}

/** The violated limit that is furthest beyond; null where all are kept. */
export function worstOf(checks: readonly ConstraintCheck[]): ConstraintCheck | null {
  const beyond = checks.filter(({ violation }) => violation > 0).sort((one, other) => other.violation - one.violation);
  return beyond[0] ?? null;
}
