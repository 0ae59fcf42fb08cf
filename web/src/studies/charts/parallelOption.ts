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
  rank: (candidate: Candidate) => number | string;
  text: (candidate: Candidate) => string;
}

/** One text for both gateways, where they are placed alike. */
function placement({ a, b }: Candidate["cpu_sets"]): string {
  const [one, other] = [cpuSetsInWords(a), cpuSetsInWords(b)];
  return one === other ? one : `${one} / ${other}`;
}

const TUNABLES: readonly Tunable[] = [
  { label: "Engine", rank: ({ engine }) => engine, text: ({ engine }) => engine },
  { label: "Mode", rank: ({ mode }) => mode ?? "", text: ({ mode }) => mode ?? "none" },
  { label: "Lanes", rank: ({ lanes }) => lanes, text: ({ lanes }) => String(lanes) },
  {
    label: "Crypto workers",
    rank: ({ crypto_workers }) => crypto_workers ?? 0,
    text: ({ crypto_workers }) => String(crypto_workers ?? "none"),
  },
  { label: "CPU sets", rank: ({ cpu_sets }) => placement(cpu_sets), text: ({ cpu_sets }) => placement(cpu_sets) },
  { label: "NUMA", rank: ({ numa_policy }) => numa_policy, text: ({ numa_policy }) => numa_policy },
  { label: "MTU", rank: ({ mtu }) => mtu, text: ({ mtu }) => String(mtu) },
  { label: "Batch", rank: ({ batch_packets }) => batch_packets, text: ({ batch_packets }) => String(batch_packets) },
  {
    label: "Buffers",
    rank: ({ socket_buffer_bytes }) => socket_buffer_bytes,
    text: ({ socket_buffer_bytes }) => formatBytes(socket_buffer_bytes),
  },
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
    const ranks = new Map(trials.map((trial) => [text(trial.candidate), rank(trial.candidate)]));
    const values = [...ranks].sort(([, one], [, other]) => (one < other ? -1 : one > other ? 1 : 0)).map(([value]) => value);
    if (values.length > 1) axes.push({ label, values });
    else if (values[0] !== undefined) fixed.push(`${label} ${values[0]}`);
  }
  return { axes, fixed };
}

export function tunableText(label: string, candidate: Candidate): string {
  return TUNABLES.find((tunable) => tunable.label === label)?.text(candidate) ?? "—";
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
      value: [...axes.map((axis) => tunableText(axis.label, trial.candidate)), value ?? "-"],
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
