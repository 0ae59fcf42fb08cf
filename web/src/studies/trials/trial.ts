import type { BlockMetrics, TrialView } from "../../api/types";
import { formatGain, formatRatio } from "../../format/numbers";
import { LIMIT_KINDS, worstOf } from "../limits/limit";
import type { MetricName } from "../objectives";

/** "Baseline", or the trial's number as people count: from 1. */
export function trialName({ number, is_baseline = number === null }: { number: number | null; is_baseline?: boolean }): string {
  if (is_baseline) return "Baseline";
  return number === null ? "On the path" : `Trial ${number + 1}`;
}

/** Baseline and trials of the search; what only the ablation path measures is shown there. */
export const isOfSearch = (trial: TrialView): boolean => trial.origin !== "ablation";

export const RACE_LABELS: Record<NonNullable<TrialView["standing"]>["race"], string> = {
  racing: "contender",
  finished: "finished",
  stopped: "stopped early",
  infeasible: "infeasible",
  failed: "failed",
};

/** "contender", "stopped early", …; of the baseline and the path, which do not race, the plain state. */
export const raceLabel = (trial: TrialView): string => (trial.standing ? RACE_LABELS[trial.standing.race] : trial.state);

/** "stopped early, after 1 block: could not win any more"; why a trial is infeasible stands above its figures. */
export function raceInWords({ standing }: TrialView): string {
  if (!standing) return "does not race";
  return standing.race === "infeasible" ? RACE_LABELS.infeasible : `${RACE_LABELS[standing.race]}, ${standing.reason}`;
}

/** Why a trial is where it is, in a few words: what it violates and by how much, or that it leads or lost. */
export function raceNote(trial: TrialView): string {
  const worst = worstOf(trial.constraints);
  if (trial.standing?.race === "infeasible") {
    return worst ? `${LIMIT_KINDS[worst.constraint.metric].label}, ${formatRatio(worst.violation)} beyond` : "cannot run here";
  }
  const chance = trial.standing?.chance;
  if (chance == null) return "";
  if (chance === 1) return "leads the search";
  return trial.standing?.race === "stopped" ? "cannot win any more" : `${(chance * 100).toFixed(0)} % to beat the leader`;
}

/** Relative difference to the baseline, drift taken out where the trial raced. */
export function gainOf({ standing, gain }: TrialView): number | null {
  const ratio = standing?.gain ?? gain;
  return ratio === null ? null : ratio - 1;
}

/** Ends of the trial's 95% interval at the study's noise level. */
export function intervalInWords({ standing }: TrialView): string {
  if (standing?.gain_low == null || standing.gain_high === null) return "";
  return `${formatGain(standing.gain_low - 1)} to ${formatGain(standing.gain_high - 1)}`;
}

const SEARCH_PHASES: readonly string[] = ["baseline", "search"];

/** The trial's blocks that the search saw; playoff and verdict are measured later and judged apart. */
export function searchPoints(trial: TrialView): BlockMetrics[] {
  return trial.points.filter((point) => SEARCH_PHASES.includes(point.phase)).map((point) => point.metrics);
}

export interface Spread {
  low: number;
  high: number;
}

/** Lowest and highest block of the search; null with fewer than two. */
export function spreadOf(trial: TrialView, metric: MetricName): Spread | null {
  const values = valuesOf(trial, metric);
  return values.length < 2 ? null : { low: Math.min(...values), high: Math.max(...values) };
}

export function valuesOf(trial: TrialView, metric: MetricName): number[] {
  return searchPoints(trial)
    .map((metrics) => metrics[metric])
    .filter((value) => value != null);
}

export interface BestPoint {
  number: number;
  value: number;
}

/** The best median until each trial, in the order of the search; what is infeasible cannot be best. */
export function runningBest(trials: readonly TrialView[], metric: MetricName): BestPoint[] {
  const points: BestPoint[] = [];
  let best = Number.NEGATIVE_INFINITY;
  const searched = trials.flatMap(({ number, state, metrics }) =>
    number === null ? [] : [{ number, value: state === "infeasible" ? null : metrics?.[metric] }],
  );
  for (const { number, value } of searched.sort((one, other) => one.number - other.number)) {
    if (value !== null && value !== undefined && value > best) best = value;
    if (Number.isFinite(best)) points.push({ number, value: best });
  }
  return points;
}

interface ParetoItem {
  throughput_gbps: number;
  gbit_per_cpu_s: number;
}

/** The items that no other one beats in one metric without losing in the other, by rising throughput. */
export function paretoFront<Item extends ParetoItem>(items: readonly Item[]): Item[] {
  const dominated = (item: Item): boolean =>
    items.some(
      (other) =>
        other.throughput_gbps >= item.throughput_gbps &&
        other.gbit_per_cpu_s >= item.gbit_per_cpu_s &&
        (other.throughput_gbps > item.throughput_gbps || other.gbit_per_cpu_s > item.gbit_per_cpu_s),
    );
  return items.filter((item) => !dominated(item)).sort((one, other) => one.throughput_gbps - other.throughput_gbps);
}
