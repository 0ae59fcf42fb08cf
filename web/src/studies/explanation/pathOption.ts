import type { Ablation } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, paddedRange, tooltipLines, tooltipStyle } from "../../charts/style";
import { uprightWhisker } from "../../charts/whisker";
import { intervalInWords } from "../verdict/intervalOption";

export type Step = Ablation["steps"][number];
type Interval = NonNullable<Step["gain"]>;

/** "lanes 2": what the step sets, as short as an axis wants it. */
export function stepName(step: Step): string {
  const changes = step.changes.filter(({ after }) => after !== "none");
  return changes.map(({ name, label, after }) => (name === "cpu_sets" ? label : `${label} ${after}`)).join(", ");
}

export function isSignificant(gain: Interval | null): boolean {
  return gain !== null && (gain.gain_low > 1 || gain.gain_high < 1);
}

/** What a step gains, or why that is not known. */
export function stepInWords(step: Step): string {
  if (step.detail) return `not measured: ${step.detail}`;
  return step.gain ? intervalInWords(step.gain) : "not measured yet";
}

const percent = (ratio: number): number => (ratio - 1) * 100;

/** Gain over the baseline after each step, as stairs with the 95% interval on each of them. */
export function pathOption(steps: readonly Step[], palette: Palette): ChartOption {
  const measured = steps.flatMap((step, index) => (step.total ? [{ step, total: step.total, column: index + 1 }] : []));
  const range = paddedRange([0, ...measured.flatMap(({ total }) => [percent(total.gain_low), percent(total.gain_high)])]);
  const byColumn = new Map(measured.map((one) => [one.column, one.step]));
  return {
    grid: { left: 8, right: 20, top: 30, bottom: 4, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ value }: { value: number[] }) => {
        const step = byColumn.get(value[0] ?? 0);
        if (!step) return "";
        const total = step.total ? `from the baseline: ${intervalInWords(step.total)}` : "";
        return tooltipLines(step.words, [`this step: ${stepInWords(step)}`, total]);
      },
    },
    xAxis: {
      ...axisStyle(palette, ""),
      type: "category",
      data: ["baseline", ...steps.map(stepName)],
      splitLine: { show: false },
      axisLabel: { color: palette.text, fontFamily: palette.font, fontSize: 11.5, interval: 0, width: 108, overflow: "break", lineHeight: 15 },
    },
    yAxis: {
      ...axisStyle(palette, "gain over the baseline, %"),
      type: "value",
      nameTextStyle: { align: "left", color: palette.muted, fontFamily: palette.font },
      ...range,
    },
    series: [
      {
        type: "line",
        step: "middle",
        symbol: "none",
        silent: true,
        lineStyle: { color: palette.baseline, width: 1.6, type: "dashed" },
        data: [[0, 0], ...measured.map(({ column, total }) => [column, percent(total.gain)])],
      },
      {
        type: "custom",
        renderItem: uprightWhisker(palette, (column) => (isSignificant(byColumn.get(column)?.gain ?? null) ? palette.best : palette.pruned)),
        encode: { x: 0, y: [1, 2, 3] },
        data: measured.map(({ column, total }) => [column, percent(total.gain_low), percent(total.gain), percent(total.gain_high)]),
      },
    ],
  };
}
