import { useMemo } from "react";
import { useTheme, type Theme } from "../theme/theme";

const NAMES = {
  text: "--text",
  muted: "--text-muted",
  surface: "--surface-raised",
  border: "--border-strong",
  grid: "--chart-grid",
  point: "--chart-point",
  best: "--chart-best",
  baseline: "--chart-baseline",
  failed: "--chart-failed",
  pruned: "--chart-pruned",
  low: "--chart-low",
  high: "--chart-high",
} as const;

export type Palette = Record<keyof typeof NAMES, string> & { font: string };

/** The design tokens as plain colours: a canvas knows no custom properties and no light-dark(). */
function readPalette(theme: Theme): Palette {
  const probe = document.createElement("span");
  probe.style.colorScheme = theme;
  document.body.append(probe);
  const resolve = (token: string): string => {
    probe.style.color = `var(${token})`;
    return getComputedStyle(probe).color;
  };
  const colours = Object.fromEntries(Object.entries(NAMES).map(([name, token]) => [name, resolve(token)]));
  const font = getComputedStyle(document.body).fontFamily;
  probe.remove();
  return { ...(colours as Record<keyof typeof NAMES, string>), font };
}

export function usePalette(): Palette {
  const theme = useTheme();
  return useMemo(() => readPalette(theme), [theme]);
}
