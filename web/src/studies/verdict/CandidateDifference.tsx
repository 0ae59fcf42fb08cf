import type { Verdict } from "../../api/types";
import { differenceOf } from "../../candidates/candidate";
import { ScrollRegion } from "../../ui/ScrollRegion";
import table from "../../ui/Table.module.css";
import styles from "./verdict.module.css";

/** What the winner sets differently from the baseline; the rest stays readable, in grey. */
export function CandidateDifference({ verdict }: { verdict: Verdict }) {
  return (
    <ScrollRegion label="Configuration of baseline and best">
      <table className={`${table.table} ${styles.diff}`}>
        <thead>
          <tr>
            <th scope="col">Tunable</th>
            <th scope="col">Baseline</th>
            <th scope="col">Best</th>
          </tr>
        </thead>
        <tbody>
          {differenceOf(verdict.baseline, verdict.best).map(({ name, value, baseline, changed }) => (
            <tr key={name} className={changed ? undefined : styles.same}>
              <td>{name}</td>
              <td>{baseline}</td>
              <td className={changed ? styles.changed : undefined}>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
