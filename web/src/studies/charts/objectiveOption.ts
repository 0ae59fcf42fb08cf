import type { TrialView } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, paddedRange, tooltipLines, tooltipStyle } from "../../charts/style";
import type { Metric } from "../objectives";
import { runningBest, trialName, valuesOf } from "../trials/trial";

export interface TrialPoint {
  value: [trial: number, value: number];
  trialId: number;
  title: string;
  lines: string[];
}

interface ObjectiveInput {
  trials: readonly TrialView[];
  trialsTotal: number;
  metric: Metric;
  palette: Palette;
}

function pointsOf(trials: readonly TrialView[], metric: Metric): TrialPoint[] {
  return trials.flatMap((trial) =>
    trial.number === null || trial.state === "infeasible"
      ? []
      : valuesOf(trial, metric.name).map((value) => ({
          value: [(trial.number ?? 0) + 1, value] as [number, number],
          trialId: trial.id,
          title: `${trialName(trial)}: ${metric.format(value)}`,
          lines: [trial.words],
        })),
  );
}

/** Trials that cannot win: at their median, or on the lower edge where they have none, so that they are seen. */
function outOfTheRace(trials: readonly TrialView[], state: TrialView["state"], metric: Metric, floor: number): TrialPoint[] {
  return trials.flatMap((trial) => {
    if (trial.state !== state || trial.number === null) return [];
    const value: [number, number] = [trial.number + 1, trial.metrics?.[metric.name] ?? floor];
    return [{ value, trialId: trial.id, title: `${trialName(trial)}: ${state}`, lines: [trial.detail ?? trial.words] }];
  });
}

export function baselineValue(trials: readonly TrialView[], metric: Metric): number | null {
  return trials.find((trial) => trial.is_baseline)?.metrics?.[metric.name] ?? null;
}

function baselineLine(value: number | null, { metric, palette }: ObjectiveInput) {
  if (value === null) return {};
  return {
    markLine: {
      silent: true,
      symbol: "none",
      animation: false,
      lineStyle: { color: palette.baseline, type: "dashed", width: 1.6 },
      label: { formatter: `baseline ${metric.format(value)}`, position: "insideStartTop", color: palette.baseline, fontFamily: palette.font },
      data: [{ yAxis: value }],
    },
  };
}

/** Every repeat of every trial as a point, the best so far as a line, the baseline as a dashed line. */
export function objectiveOption(input: ObjectiveInput): ChartOption {
  const { trials, trialsTotal, metric, palette } = input;
  const points = pointsOf(trials, metric);
  const baseline = baselineValue(trials, metric);
  const medians = trials.map((trial) => trial.metrics?.[metric.name]).filter((value) => value != null);
  const range = paddedRange([...points.map((point) => point.value[1]), ...medians]);
  const floor = range?.min ?? 0;
  const trialAxis = axisStyle(palette, "trial");
  const edge = { type: "scatter", clip: false, z: 4, cursor: "pointer" };
  return {
    grid: { left: 8, right: 16, top: 30, bottom: 26, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ data }: { data: TrialPoint }) => tooltipLines(data.title, data.lines),
    },
    xAxis: {
      ...trialAxis,
      type: "value",
      nameLocation: "middle",
      nameGap: 26,
      min: 0,
      max: Math.max(trialsTotal, trials.length) + 1,
      minInterval: 1,
      splitLine: { show: false },
      axisLabel: { ...trialAxis.axisLabel, showMinLabel: false, showMaxLabel: false },
    },
    yAxis: { ...axisStyle(palette, metric.unit), type: "value", nameTextStyle: { align: "left", color: palette.muted, fontFamily: palette.font }, ...range },
    series: [
      {
        type: "line",
        step: "end",
        symbol: "none",
        silent: true,
        lineStyle: { color: palette.best, width: 2 },
        data: runningBest(trials, metric.name).map(({ number, value }) => [number + 1, value]),
      },
      {
        type: "scatter",
        symbolSize: 8,
        cursor: "pointer",
        itemStyle: { color: palette.point, opacity: 0.85, borderColor: palette.surface, borderWidth: 1 },
        data: points,
        ...baselineLine(baseline, input),
      },
      { ...edge, symbol: "diamond", symbolSize: 11, itemStyle: { color: palette.baseline }, data: outOfTheRace(trials, "infeasible", metric, floor) },
      { ...edge, symbol: CROSS, symbolSize: 10, itemStyle: { color: palette.failed }, data: outOfTheRace(trials, "failed", metric, floor) },
    ],
  };
}

const CROSS = "path://M2 0 L5 3 L8 0 L10 2 L7 5 L10 8 L8 10 L5 7 L2 10 L0 8 L3 5 L0 2 Z";
