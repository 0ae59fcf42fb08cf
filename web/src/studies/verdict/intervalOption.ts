import type { CustomSeriesRenderItem } from "echarts";
import type { Verdict } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, paddedRange, tooltipLines, tooltipStyle } from "../../charts/style";
import { formatGain } from "../../format/numbers";

type Comparison = Verdict["metrics"][number];

const CAP_PX = 7;

/** A whisker with caps from the interval's low to its high end, and a dot on the estimate. */
function whisker(palette: Palette): CustomSeriesRenderItem {
  return (_params, api) => {
    const row = api.value(0);
    const [low, y] = api.coord([api.value(1), row]) as [number, number];
    const [middle] = api.coord([api.value(2), row]) as [number, number];
    const [high] = api.coord([api.value(3), row]) as [number, number];
    const stroke = { stroke: palette.best, lineWidth: 2.5 };
    const cap = (x: number) => ({ type: "line" as const, shape: { x1: x, y1: y - CAP_PX, x2: x, y2: y + CAP_PX }, style: stroke });
    return {
      type: "group",
      children: [
        { type: "line", shape: { x1: low, y1: y, x2: high, y2: y }, style: stroke },
        cap(low),
        cap(high),
        { type: "circle", shape: { cx: middle, cy: y, r: 6 }, style: { fill: palette.best, stroke: palette.surface, lineWidth: 1.5 } },
      ],
    };
  };
}

/** The paired gain of every metric with its 95% interval, against no difference at all. */
export function intervalOption(metrics: readonly Comparison[], palette: Palette): ChartOption {
  const percents = metrics.flatMap(({ gain_low, gain_high }) => [(gain_low - 1) * 100, (gain_high - 1) * 100]);
  const range = paddedRange([0, ...percents]);
  return {
    grid: { left: 8, right: 24, top: 12, bottom: 30, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ dataIndex }: { dataIndex: number }) => {
        const metric = metrics[dataIndex];
        return metric ? tooltipLines(metric.label, [intervalInWords(metric)]) : "";
      },
    },
    xAxis: { ...axisStyle(palette, "gain over the baseline, %"), type: "value", nameLocation: "middle", nameGap: 26, ...range },
    yAxis: {
      ...axisStyle(palette, ""),
      type: "category",
      inverse: true,
      data: metrics.map(({ label }) => label),
      axisLabel: { color: palette.text, fontFamily: palette.font, fontSize: 12.5 },
      splitLine: { show: false },
    },
    series: [
      {
        type: "custom",
        renderItem: whisker(palette),
        encode: { x: [1, 2, 3], y: 0 },
        data: metrics.map(({ gain, gain_low, gain_high }, row) => [row, (gain_low - 1) * 100, (gain - 1) * 100, (gain_high - 1) * 100]),
        markLine: {
          silent: true,
          symbol: "none",
          animation: false,
          lineStyle: { color: palette.baseline, type: "dashed", width: 1.6 },
          label: { show: false },
          data: [{ xAxis: 0 }],
        },
      },
    ],
  };
}

export function intervalInWords({ gain, gain_low, gain_high }: Pick<Comparison, "gain" | "gain_low" | "gain_high">): string {
  return `${formatGain(gain - 1)}, 95% interval ${formatGain(gain_low - 1)} to ${formatGain(gain_high - 1)}`;
}
