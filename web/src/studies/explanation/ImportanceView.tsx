import { useMemo } from "react";
import type { Importance } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { Legend } from "../../charts/Legend";
import { usePalette } from "../../charts/palette";
import styles from "./explanation.module.css";
import { certaintyInWords, importanceOption, shareInWords } from "./importanceOption";

export function ImportanceView({ importance }: { importance: Importance }) {
  const palette = usePalette();
  const { tunables, words } = importance;
  const option = useMemo(() => importanceOption(tunables, palette), [tunables, palette]);
  const known = tunables.filter((one) => one.share !== null);
  return (
    <section aria-labelledby="importance-heading">
      <h3 id="importance-heading">Importance of each tunable</h3>
      <p className={styles.words}>{words}</p>
      {known.length > 0 && (
        <Chart
          label={`Share of the variation between trials: ${known.map((one) => `${one.label} ${shareInWords(one)}`).join("; ")}`}
          option={option}
          height_px={56 + 30 * known.length}
          legend={
            <Legend
              entries={[
                { label: "clear", colour: palette.best, shape: "dot" },
                { label: "may be chance", colour: palette.pruned, shape: "dot" },
              ]}
            />
          }
          table={{
            columns: ["Tunable", "Share", "How sure"],
            rows: tunables.map((one) => [one.label, shareInWords(one), certaintyInWords(one)]),
          }}
        />
      )}
    </section>
  );
}
