import type { Verdict } from "../../api/types";
import { ScrollRegion } from "../../ui/ScrollRegion";
import table from "../../ui/Table.module.css";
import { METRICS } from "../objectives";
import { GainText } from "./GainText";
import styles from "./verdict.module.css";

function formatted(metric: string, value: number): string {
  return METRICS.find(({ name }) => name === metric)?.format(value) ?? value.toPrecision(3);
}

export function GainTable({ verdict }: { verdict: Verdict }) {
  return (
    <ScrollRegion label="Baseline and best, metric by metric">
      <table className={`${table.table} ${styles.diff}`}>
        <thead>
          <tr>
            <th scope="col">Median</th>
            <th scope="col" className={table.number}>
              Baseline
            </th>
            <th scope="col" className={table.number}>
              Best
            </th>
            <th scope="col" className={table.number}>
              Gain
            </th>
          </tr>
        </thead>
        <tbody>
          {verdict.metrics.map((metric) => (
            <tr key={metric.metric}>
              <td>{metric.label}</td>
              <td className={table.number}>{formatted(metric.metric, metric.baseline_median)}</td>
              <td className={table.number}>{formatted(metric.metric, metric.best_median)}</td>
              <td className={table.number}>
                <GainText gain={metric} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
