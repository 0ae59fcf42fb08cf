import { useMemo } from "react";
import type { Ablation } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { Legend } from "../../charts/Legend";
import { usePalette } from "../../charts/palette";
import { formatCount } from "../../format/numbers";
import { ScrollRegion } from "../../ui/ScrollRegion";
import table from "../../ui/Table.module.css";
import { GainText } from "../verdict/GainText";
import styles from "./explanation.module.css";
import { pathOption, stepInWords, stepName, type Step } from "./pathOption";

/** The ablation path: stairs from the baseline to the winner, and what each step gains. */
export function PathView({ ablation }: { ablation: Ablation }) {
  const palette = usePalette();
  const { steps } = ablation;
  const option = useMemo(() => pathOption(steps, palette), [steps, palette]);
  if (ablation.state === "skipped") return <p className={styles.words}>{ablation.words}</p>;
  return (
    <section aria-labelledby="path-heading">
      <h3 id="path-heading">From the baseline to the winner</h3>
      <p className={styles.words}>{ablation.words}</p>
      <div className={styles.path}>
        {steps.some((step) => step.total) && (
          <Chart
            label={`Gain over the baseline after each step: ${steps.map((step) => `${stepName(step)} ${stepInWords(step)}`).join("; ")}`}
            option={option}
            height_px={290}
            legend={
              <Legend
                entries={[
                  { label: "the step makes a difference", colour: palette.best, shape: "dot" },
                  { label: "no significant difference", colour: palette.pruned, shape: "dot" },
                ]}
              />
            }
            table={{ columns: ["Step", "Gain of the step"], rows: steps.map((step) => [step.words, stepInWords(step)]) }}
          />
        )}
        <StepTable steps={steps} />
      </div>
      {ablation.rounds > 0 && (
        <p className={styles.muted}>
          {formatCount(ablation.rounds, "complete round")} of {formatCount(steps.length + 1, "candidate")}; each interval holds the
          true gain of its own step in 95% of studies.
        </p>
      )}
    </section>
  );
}

function StepTable({ steps }: { steps: readonly Step[] }) {
  return (
    <ScrollRegion label="Steps of the path">
      <table className={table.table}>
        <thead>
          <tr>
            <th scope="col">Change</th>
            <th scope="col" className={table.number}>
              Gain of the step
            </th>
          </tr>
        </thead>
        <tbody>
          {steps.map((step, index) => (
            <tr key={index}>
              <td>
                <ul className={styles.changes}>
                  {step.changes.map(({ name, label, before, after }) => (
                    <li key={name}>
                      {label}: <span className={styles.before}>{before}</span> → <strong>{after}</strong>
                    </li>
                  ))}
                </ul>
              </td>
              <td className={table.number}>{step.gain ? <GainText gain={step.gain} /> : stepInWords(step)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollRegion>
  );
}
