import { useMemo } from "react";
import type { StudyView, Verdict } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { Legend } from "../../charts/Legend";
import { usePalette } from "../../charts/palette";
import { formatGain } from "../../format/numbers";
import { Badge, OriginMark, type Tone } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { LimitList } from "../limits/LimitList";
import { mainMetric } from "../objectives";
import { CandidateDifference } from "./CandidateDifference";
import { GainTable } from "./GainTable";
import { intervalInWords, intervalOption } from "./intervalOption";
import { roundsOption } from "./roundsOption";
import styles from "./verdict.module.css";

const CONCLUSIONS: Record<Verdict["conclusion"], { label: string; tone: Tone; className: string | undefined }> = {
  better: { label: "better than the baseline", tone: "good", className: styles.better },
  worse: { label: "worse than the baseline", tone: "bad", className: styles.worse },
  no_significant_difference: { label: "no significant difference", tone: "neutral", className: styles.undecided },
};

export function VerdictPanel({ study, verdict }: { study: StudyView; verdict: Verdict }) {
  const palette = usePalette();
  const conclusion = CONCLUSIONS[verdict.conclusion];
  const intervals = useMemo(() => intervalOption(verdict.metrics, palette), [verdict, palette]);
  const unit = study.spec.objective === "pareto" ? "score" : mainMetric(study.spec.objective).unit;
  const rounds = useMemo(() => roundsOption(verdict, unit, palette), [verdict, unit, palette]);

  return (
    <Panel
      title="Verdict"
      mark={
        <>
          <Badge tone={conclusion.tone}>{conclusion.label}</Badge>
          <OriginMark of={study} />
        </>
      }
    >
      <div className={styles.columns}>
        <div className={styles.stack}>
          <div>
            <div className={styles.lead}>
              <p className={`${styles.big} ${conclusion.className}`}>{formatGain(verdict.gain - 1)}</p>
              <p className={styles.muted}>
                {verdict.decided_on}: 95% interval {formatGain(verdict.gain_low - 1)} to {formatGain(verdict.gain_high - 1)}, from{" "}
                {verdict.rounds} paired rounds
              </p>
            </div>
            <p className={styles.words}>{verdict.words}</p>
          </div>
          <LimitList checks={verdict.constraints} />
          <Chart
            label={`Gain over the baseline: ${verdict.metrics.map((metric) => `${metric.label} ${intervalInWords(metric)}`).join("; ")}`}
            option={intervals}
            height_px={64 + 44 * verdict.metrics.length}
            table={{ columns: ["Metric", "Gain"], rows: verdict.metrics.map((metric) => [metric.label, intervalInWords(metric)]) }}
          />
          <Chart
            label="Fresh blocks of the best candidate and the baseline, round by round"
            option={rounds}
            height_px={210}
            legend={
              <Legend
                entries={[
                  { label: "best", colour: palette.best, shape: "line" },
                  { label: "baseline", colour: palette.baseline, shape: "line" },
                ]}
              />
            }
            table={{
              columns: ["Round", `Best, ${unit}`, `Baseline, ${unit}`],
              rows: verdict.best_scores.map((best, index) => [
                String(index + 1),
                best.toPrecision(4),
                verdict.baseline_scores[index]?.toPrecision(4) ?? "—",
              ]),
            }}
          />
        </div>
        <div className={styles.stack}>
          <GainTable verdict={verdict} />
          <CandidateDifference verdict={verdict} />
        </div>
      </div>
    </Panel>
  );
}
