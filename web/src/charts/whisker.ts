import type { CustomSeriesRenderItem } from "echarts";
import type { Palette } from "./palette";

const CAP_PX = 7;

/**
 * A whisker with caps from an interval's low to its high end, and a dot on the estimate. A datum is [row, low, middle,
 * high]; rows run down the vertical axis.
 */
export function whisker(palette: Palette, colourOf: (row: number) => string): CustomSeriesRenderItem {
  return (_params, api) => {
    const row = Number(api.value(0));
    const [low, y] = api.coord([api.value(1), row]) as [number, number];
    const [middle] = api.coord([api.value(2), row]) as [number, number];
    const [high] = api.coord([api.value(3), row]) as [number, number];
    return drawn({ low: [low, y], middle: [middle, y], high: [high, y], across: [0, CAP_PX], palette, colour: colourOf(row) });
  };
}

/** The same standing upright: columns run along the horizontal axis. */
export function uprightWhisker(palette: Palette, colourOf: (column: number) => string): CustomSeriesRenderItem {
  return (_params, api) => {
    const column = Number(api.value(0));
    const [x, low] = api.coord([column, api.value(1)]) as [number, number];
    const [, middle] = api.coord([column, api.value(2)]) as [number, number];
    const [, high] = api.coord([column, api.value(3)]) as [number, number];
    return drawn({ low: [x, low], middle: [x, middle], high: [x, high], across: [CAP_PX, 0], palette, colour: colourOf(column) });
  };
}

type Point = readonly [x: number, y: number];

interface Whisker {
  low: Point;
  middle: Point;
  high: Point;
  across: Point;
  palette: Palette;
  colour: string;
}

function drawn({ low, middle, high, across: [dx, dy], palette, colour }: Whisker) {
  const style = { stroke: colour, lineWidth: 2.5 };
  const line = ([x1, y1]: Point, [x2, y2]: Point) => ({ type: "line" as const, shape: { x1, y1, x2, y2 }, style });
  const cap = ([x, y]: Point) => line([x - dx, y - dy], [x + dx, y + dy]);
  return {
    type: "group" as const,
    children: [
      line(low, high),
      cap(low),
      cap(high),
      {
        type: "circle" as const,
        shape: { cx: middle[0], cy: middle[1], r: 6 },
        style: { fill: colour, stroke: palette.surface, lineWidth: 1.5 },
      },
    ],
  };
}
