import type { Verdict } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, paddedRange, tooltipStyle } from "../../charts/style";

/** The fresh blocks of the verdict, round by round: what a round shares moves both lines alike. */
export function roundsOption({ baseline_scores, best_scores }: Verdict, unit: string, palette: Palette): ChartOption {
  const line = (name: string, data: readonly number[], colour: string) => ({
    name,
    type: "line",
    symbolSize: 7,
    data: [...data],
    itemStyle: { color: colour },
    lineStyle: { color: colour, width: 1.6 },
  });
  return {
    grid: { left: 8, right: 16, top: 30, bottom: 26, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      renderMode: "richText",
      formatter: ({ seriesName, value, dataIndex }: { seriesName: string; value: number; dataIndex: number }) =>
        `${seriesName}, round ${dataIndex + 1}: ${value.toPrecision(4)} ${unit}`,
    },
    xAxis: {
      ...axisStyle(palette, "round"),
      type: "category",
      nameLocation: "middle",
      nameGap: 26,
      data: best_scores.map((_, index) => String(index + 1)),
    },
    yAxis: {
      ...axisStyle(palette, unit),
      type: "value",
      nameTextStyle: { align: "left", color: palette.muted, fontFamily: palette.font },
      ...paddedRange([...baseline_scores, ...best_scores]),
    },
    series: [line("best", best_scores, palette.best), line("baseline", baseline_scores, palette.baseline)],
  };
}
