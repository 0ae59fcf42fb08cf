import type { TrialView } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, paddedRange, tooltipLines, tooltipStyle } from "../../charts/style";
import { formatGbps } from "../../format/numbers";
import { paretoFront, trialName } from "../trials/trial";

export interface ParetoPoint {
  throughput_gbps: number;
  gbit_per_cpu_s: number;
  trial: TrialView;
}

export function paretoPoints(trials: readonly TrialView[]): ParetoPoint[] {
  return trials.flatMap((trial) =>
    trial.metrics && trial.metrics.gbit_per_cpu_s !== null
      ? [{ throughput_gbps: trial.metrics.throughput_gbps, gbit_per_cpu_s: trial.metrics.gbit_per_cpu_s, trial }]
      : [],
  );
}

const itemOf = ({ throughput_gbps, gbit_per_cpu_s, trial }: ParetoPoint) => ({
  value: [throughput_gbps, gbit_per_cpu_s],
  trialId: trial.id,
  title: trialName(trial),
  lines: [`${formatGbps(throughput_gbps)}, ${gbit_per_cpu_s.toFixed(2)} Gbit per CPU-second`, trial.words],
});

/** Throughput against efficiency; the line joins what nothing beats in both. */
export function paretoOption(trials: readonly TrialView[], palette: Palette): ChartOption {
  const points = paretoPoints(trials);
  const front = paretoFront(points.filter(({ trial }) => !trial.is_baseline));
  const nameStyle = { color: palette.muted, fontFamily: palette.font };
  const scatter = { type: "scatter", cursor: "pointer", symbolSize: 9 };
  return {
    grid: { left: 8, right: 16, top: 30, bottom: 26, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ data }: { data: { title: string; lines: string[] } }) => tooltipLines(data.title, data.lines),
    },
    xAxis: { ...axisStyle(palette, "Gbit/s"), type: "value", nameLocation: "middle", nameGap: 26, ...paddedRange(points.map((point) => point.throughput_gbps)) },
    yAxis: {
      ...axisStyle(palette, "Gbit per CPU-second"),
      type: "value",
      nameTextStyle: { ...nameStyle, align: "left" },
      ...paddedRange(points.map((point) => point.gbit_per_cpu_s)),
    },
    series: [
      { type: "line", step: "start", symbol: "none", silent: true, lineStyle: { color: palette.best, width: 1.6 }, data: front.map(({ throughput_gbps, gbit_per_cpu_s }) => [throughput_gbps, gbit_per_cpu_s]) },
      { ...scatter, itemStyle: { color: palette.point, opacity: 0.8 }, data: points.filter(({ trial }) => !trial.is_baseline).map(itemOf) },
      { ...scatter, symbolSize: 11, itemStyle: { color: palette.best }, data: front.map(itemOf) },
      { ...scatter, symbol: "diamond", symbolSize: 13, itemStyle: { color: palette.baseline }, data: points.filter(({ trial }) => trial.is_baseline).map(itemOf) },
    ],
  };
}
