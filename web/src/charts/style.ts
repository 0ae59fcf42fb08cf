import type { Palette } from "./palette";

const FONT_SIZE_PX = 11.5;

export function axisStyle(palette: Palette, name: string) {
  return {
    name,
    nameTextStyle: { color: palette.muted, fontFamily: palette.font, fontSize: FONT_SIZE_PX },
    axisLabel: { color: palette.muted, fontFamily: palette.font, fontSize: FONT_SIZE_PX, hideOverlap: true },
    axisLine: { lineStyle: { color: palette.border } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: palette.grid } },
  };
}

export function tooltipStyle(palette: Palette) {
  return {
    // confine: no arrow element with an inline style, which the content security policy would refuse.
    confine: true,
    backgroundColor: palette.surface,
    borderColor: palette.border,
    borderWidth: 1,
    padding: [8, 10],
    textStyle: { color: palette.text, fontFamily: palette.font, fontSize: 12.5 },
    extraCssText: "border-radius:6px;box-shadow:0 6px 24px rgb(0 0 0 / 18%);max-width:340px;white-space:normal",
  };
}

/** A tooltip as DOM nodes: text stays text, whatever a host reports, and no markup carries a style. */
export function tooltipLines(title: string, lines: readonly string[]): HTMLElement {
  const box = document.createElement("div");
  const heading = document.createElement("strong");
  heading.textContent = title;
  box.append(heading);
  for (const line of lines) {
    const row = document.createElement("div");
    row.textContent = line;
    box.append(row);
  }
  return box;
}

/** An axis range that leaves air around the values and keeps still while values arrive inside it. */
export function paddedRange(values: readonly number[]): { min: number; max: number } | undefined {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (!Number.isFinite(low) || !Number.isFinite(high)) return undefined;
  const span = high - low || Math.abs(high) || 1;
  const step = 10 ** Math.floor(Math.log10(span)) / 2;
  const min = Math.floor((low - span * 0.08) / step) * step;
  return { min: low >= 0 ? Math.max(0, min) : min, max: Math.ceil((high + span * 0.08) / step) * step };
}
