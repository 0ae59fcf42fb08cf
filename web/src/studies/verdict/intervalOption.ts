import type { Verdict } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { whisker } from "../../charts/whisker";
import { axisStyle, paddedRange, tooltipLines, tooltipStyle } from "../../charts/style";
import { formatGain } from "../../format/numbers";

type Comparison = Verdict["metrics"][number];

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
        renderItem: whisker(palette, () => palette.best),
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
