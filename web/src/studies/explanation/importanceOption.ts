import type { Importance } from "../../api/types";
import type { ChartOption } from "../../charts/echarts";
import type { Palette } from "../../charts/palette";
import { axisStyle, tooltipLines, tooltipStyle } from "../../charts/style";
import { whisker } from "../../charts/whisker";
import { formatRatio } from "../../format/numbers";

export type TunableImportance = Importance["tunables"][number];

export function shareInWords({ share, share_low, share_high }: TunableImportance): string {
  if (share === null) return "unknown";
  return `${formatRatio(share)}, 95% interval ${formatRatio(share_low)} to ${formatRatio(share_high)}`;
}

export function certaintyInWords({ certainty, best_value, trials }: TunableImportance): string {
  if (certainty === "clear") return `clear; best at ${best_value ?? "—"}`;
  return certainty === "unclear" ? "not clear: may be chance" : `too little was tried in ${trials} trials`;
}

/** Each tunable's share of the variation between trials; only what is clear has the colour of a result. */
export function importanceOption(tunables: readonly TunableImportance[], palette: Palette): ChartOption {
  const known = tunables.filter((one) => one.share !== null);
  return {
    grid: { left: 8, right: 24, top: 6, bottom: 30, containLabel: true },
    tooltip: {
      ...tooltipStyle(palette),
      trigger: "item",
      formatter: ({ dataIndex }: { dataIndex: number }) => {
        const one = known[dataIndex];
        return one ? tooltipLines(one.label, [shareInWords(one), certaintyInWords(one)]) : "";
      },
    },
    xAxis: {
      ...axisStyle(palette, "share of the variation between trials, %"),
      type: "value",
      nameLocation: "middle",
      nameGap: 26,
      min: 0,
      max: 100,
    },
    yAxis: {
      ...axisStyle(palette, ""),
      type: "category",
      inverse: true,
      data: known.map(({ label }) => label),
      axisLabel: { color: palette.text, fontFamily: palette.font, fontSize: 12.5 },
      splitLine: { show: false },
    },
    series: [
      {
        type: "custom",
        renderItem: whisker(palette, (row) => (known[row]?.certainty === "clear" ? palette.best : palette.pruned)),
        encode: { x: [1, 2, 3], y: 0 },
        data: known.map(({ share, share_low, share_high }, row) => [row, (share_low ?? 0) * 100, (share ?? 0) * 100, (share_high ?? 0) * 100]),
      },
    ],
  };
}
