import { useEffect, useRef, type ReactNode } from "react";
import styles from "./Chart.module.css";
import { init, type ChartOption, type EChartsType } from "./echarts";
import tableStyles from "../ui/Table.module.css";

export interface ChartTable {
  columns: readonly string[];
  rows: readonly (readonly string[])[];
}

interface ChartProps {
  /** What the chart shows, in a sentence: its accessible name. */
  label: string;
  option: ChartOption;
  height_px: number;
  legend?: ReactNode;
  /** The same figures as text. */
  table: ChartTable;
  onSelect?: (data: unknown) => void;
}

const reducedMotion = (): boolean => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A chart with its legend, and its figures as a table for whoever cannot see it. */
export function Chart({ label, option, height_px, legend, table, onSelect }: ChartProps) {
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<EChartsType | null>(null);
  const select = useRef(onSelect);

  useEffect(() => {
    select.current = onSelect;
  }, [onSelect]);

  useEffect(() => {
    if (!element.current) return;
    const instance = init(element.current);
    chart.current = instance;
    instance.on("click", (event) => select.current?.(event.data));
    const observer = new ResizeObserver(() => instance.resize());
    observer.observe(element.current);
    return () => {
      observer.disconnect();
      instance.dispose();
      chart.current = null;
    };
  }, []);

  useEffect(() => {
    const motion = reducedMotion() ? { animation: false } : { animationDuration: 200, animationDurationUpdate: 200 };
    chart.current?.setOption({ ...motion, ...option }, { replaceMerge: ["series"] });
  }, [option]);

  return (
    <figure className={styles.figure}>
      {legend}
      <div ref={element} role="img" aria-label={label} className={styles.chart} style={{ height: height_px }} />
      <ChartAlternative label={label} table={table} />
    </figure>
  );
}

function ChartAlternative({ label, table }: { label: string; table: ChartTable }) {
  return (
    <details className={styles.alternative}>
      <summary>Show as table</summary>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div className={styles.scroll} role="region" aria-label={`${label} as table`} tabIndex={0}>
        <table className={tableStyles.table}>
          <thead>
            <tr>
              {table.columns.map((column) => (
                <th key={column} scope="col">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.map((row, index) => (
              <tr key={index}>
                {row.map((cell, column) => (
                  <td key={column}>{cell}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
