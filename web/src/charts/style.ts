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

const TICKS = 5;

/** The smallest of 1, 2, 5 times a power of ten that is not below `least`. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return ([1, 2, 5].find((factor) => factor * power >= least) ?? 10) * power;
}

export interface AxisRange {
  min: number;
  max: number;
  interval: number;
}

/** A range on round ticks with air around the values: it stands still while values arrive inside it. */
export function paddedRange(values: readonly number[]): AxisRange | undefined {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (!Number.isFinite(low) || !Number.isFinite(high)) return undefined;
  const span = high - low || Math.abs(high) || 1;
  const interval = niceStep(span / TICKS);
  const air = span * 0.05;
  const min = Math.floor((low - air) / interval) * interval;
  return { min: low >= 0 ? Math.max(0, min) : min, max: Math.ceil((high + air) / interval) * interval, interval };
}
