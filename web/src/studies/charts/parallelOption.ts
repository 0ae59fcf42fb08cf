import type { Candidate, TrialView } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { tooltipLines, tooltipStyle } from "../../charts/style";
import { cpuSetsInWords } from "../../candidates/candidate";
import { formatBytes } from "../../format/numbers";
import type { Metric } from "../objectives";
import { trialName } from "../trials/trial";

interface Tunable {
  label: string;
  /** Sorts the values of the axis. */
  rank: (trial: TrialView) => number | string;
  text: (trial: TrialView) => string;
}

/** The rule that placed the trial ("near", "packed apart"), or its CPU sets where no rule did. */
function placement({ params, candidate }: TrialView): string {
  const rules = [params.placement ?? params.placement_a, params.placement_b].filter((rule) => rule !== undefined);
  if (rules.length > 0) return rules.join(" / ");
  const [one, other] = [cpuSetsInWords(candidate.cpu_sets.a), cpuSetsInWords(candidate.cpu_sets.b)];
  return one === other ? one : `${one} / ${other}`;
}

type TunableName = Exclude<keyof Candidate, "cpu_sets" | "threaded_napi" | "host">;

/** A tunable that stands in the candidate itself; `none` is what an engine without it shows. */
function own(label: string, name: TunableName, format: (value: number | string) => string = String): Tunable {
  return {
    label,
    rank: ({ candidate }) => candidate[name] ?? "",
    text: ({ candidate }) => (candidate[name] === null || candidate[name] === undefined ? "none" : format(candidate[name])),
  };
}

const TUNABLES: readonly Tunable[] = [
  own("Engine", "engine"),
  own("Mode", "mode"),
  own("Lanes", "lanes"),
  own("Spread", "spread"),
  own("Crypto workers", "crypto_workers"),
  {
    label: "Threaded NAPI",
    rank: ({ candidate }) => (candidate.engine === "kernel" ? Number(candidate.threaded_napi) : -1),
    text: ({ candidate }) => (candidate.engine !== "kernel" ? "none" : candidate.threaded_napi ? "on" : "off"),
  },
  { label: "Placement", rank: placement, text: placement },
  own("NUMA", "numa_policy"),
  own("MTU", "mtu"),
  own("Batch", "batch_packets"),
  own("Buffers", "socket_buffer_bytes", (bytes) => formatBytes(Number(bytes))),
];

export interface ParallelAxis {
  label: string;
  values: string[];
}

/** One axis a tunable that really varies; its values in their natural order. */
export function axesOf(trials: readonly TrialView[]): { axes: ParallelAxis[]; fixed: string[] } {
  const axes: ParallelAxis[] = [];
  const fixed: string[] = [];
  for (const { label, rank, text } of TUNABLES) {
    const ranks = new Map(trials.map((trial) => [text(trial), rank(trial)]));
    const values = [...ranks].sort(([, one], [, other]) => (one < other ? -1 : one > other ? 1 : 0)).map(([value]) => value);
    if (values.length > 1) axes.push({ label, values });
    else if (values[0] !== undefined) fixed.push(`${label} ${values[0]}`);
  }
  return { axes, fixed };
}

export function tunableText(label: string, trial: TrialView): string {
  return TUNABLES.find((tunable) => tunable.label === label)?.text(trial) ?? "—";
}

const channels = (colour: string): number[] => (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);

/** The colour between `low` and `high`, given as rgb(…); `share` between 0 and 1. */
export function mixColours(low: string, high: string, share: number): string {
  const from = channels(low);
  const to = channels(high);
  return `rgb(${from.map((channel, index) => Math.round(channel + ((to[index] ?? channel) - channel) * share)).join(", ")})`;
}

const LONGEST_LABEL = 18;
const shorten = (text: string): string => (text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL - 1)}…` : text);

interface ParallelInput {
  trials: readonly TrialView[];
  metric: Metric;
  palette: Palette;
}

/** Tunables on the left, the objective on the far right; the better a trial, the stronger its line. */
export function parallelOption({ trials, metric, palette }: ParallelInput): ChartOption {
  const { axes } = axesOf(trials);
  const values = trials.flatMap((trial) => trial.metrics?.[metric.name] ?? []);
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const lineOf = (trial: TrialView) => {
    const value = trial.metrics?.[metric.name] ?? null;
    const share = value === null ? 0 : (value - low) / span;
    return {
      value: [...axes.map((axis) => tunableText(axis.label, trial)), value ?? "-"],
      trialId: trial.id,
      title: `${trialName(trial)}: ${value === null ? trial.state : metric.format(value)}`,
      lines: [trial.words],
      lineStyle:
        value === null
          ? { color: palette.failed, type: "dashed", opacity: 0.5, width: 1.2 }
          : { color: trial.is_baseline ? palette.baseline : mixColours(palette.low, palette.high, share), opacity: 0.85, width: 1.2 + 1.6 * share },
    };
  };
  const label = { color: palette.muted, fontFamily: palette.font, fontSize: 11.5 };
  // Lines run behind the labels; a border in the colour of the paper keeps these readable.
  const halo = { textBorderColor: palette.surface, textBorderWidth: 4 };
  const common = {
    nameTextStyle: { ...label, color: palette.text },
    nameLocation: "end",
    nameGap: 14,
    axisLine: { lineStyle: { color: palette.border } },
    axisTick: { show: false },
  };
  return {
    parallel: { left: 24, right: 80, top: 34, bottom: 14, parallelAxisDefault: common },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ data }: { data: { title: string; lines: string[] } }) => tooltipLines(data.title, data.lines),
    },
    parallelAxis: [
      ...axes.map((axis, dim) => ({ ...common, dim, name: axis.label, type: "category", data: axis.values, axisLabel: { ...label, ...halo, formatter: shorten } })),
      { ...common, dim: axes.length, name: metric.unit, type: "value", scale: true, axisLabel: { ...label, ...halo } },
    ],
    series: [{ type: "parallel", smooth: 0.15, emphasis: { lineStyle: { width: 4, opacity: 1 } }, data: trials.map(lineOf) }],
  };
}
