import type { ReactNode } from "react";
import type { StudyProgress, StudyView, TrialView } from "../../api/types";
import { formatDuration, formatGain } from "../../format/numbers";
import { useNow } from "../../format/useNow";
import { baselineValue } from "../charts/objectiveOption";
import { mainMetric } from "../objectives";
import { isFinished } from "../states";
import { studyDuration_s } from "../study";
import { trialName } from "../trials/trial";
import styles from "./StudyPage.module.css";

interface StudySummaryProps {
  study: StudyView;
  trials: readonly TrialView[];
  fetchedAt_ms: number;
}

/** The study in five figures; every tile keeps its place and size while it is live. */
export function StudySummary({ study, trials, fetchedAt_ms }: StudySummaryProps) {
  const now_ms = useNow(1000);
  const { progress, verdict } = study;
  const metric = mainMetric(study.spec.objective);
  const confirmed = verdict?.metrics.find((comparison) => comparison.metric === metric.name);
  const baseline = confirmed?.baseline_median ?? baselineValue(trials, metric);
  const best = progress.best;

  return (
    <dl className={styles.summary}>
      <Tile label={`Baseline, ${metric.label.toLowerCase()}`} note={confirmed ? "median of the verdict" : "median of the search"}>
        {metric.format(baseline)}
      </Tile>
      {confirmed ? (
        <Tile label="Best, confirmed" note={`gain ${formatGain(confirmed.gain - 1)}`}>
          {metric.format(confirmed.best_median)}
        </Tile>
      ) : (
        <Tile
          label="Best so far, not confirmed"
          note={best ? `${trialName(best)}, ${formatGain(best.gain === null ? null : best.gain - 1)}` : "no trial yet"}
        >
          {metric.format(best?.metrics[metric.name])}
        </Tile>
      )}
      <Tile label="Trials" note={`${progress.blocks_done} of about ${Math.max(progress.blocks_total, progress.blocks_done)} blocks`}>
        {progress.trials_done} of {progress.trials_total}
      </Tile>
      <TimeTile study={study} now_ms={now_ms} fetchedAt_ms={fetchedAt_ms} />
      <Tile label="Overhead of a block" note={overheadInWords(progress)}>
        {formatDuration(progress.trial_overhead_median_s)}
      </Tile>
    </dl>
  );
}

/** "start 0.7, apply 0.2, read back 0.1, collect 0.3 s": what a block costs beyond measuring. */
function overheadInWords({ overhead }: StudyProgress): string {
  if (!overhead) return "median time not spent measuring";
  const parts = [
    ["start", overhead.start_s],
    ["apply", overhead.apply_s],
    ["verify", overhead.verify_s],
    ["collect", overhead.collect_s],
  ] as const;
  return `${parts.map(([name, duration_s]) => `${name} ${duration_s.toFixed(2)}`).join(", ")} s`;
}

function TimeTile({ study, now_ms, fetchedAt_ms }: { study: StudyView; now_ms: number; fetchedAt_ms: number }) {
  const spent = formatDuration(studyDuration_s(study, now_ms));
  const eta_s = study.progress.eta_s;
  if (isFinished(study.state) || eta_s === null) {
    return (
      <Tile label={isFinished(study.state) ? "Took" : "Running for"} note={study.finished_at ? "from start to end" : "time left not known yet"}>
        {spent}
      </Tile>
    );
  }
  const left_s = Math.max(0, eta_s - Math.max(0, now_ms - fetchedAt_ms) / 1000);
  return (
    <Tile label="Time left, about" note={`${spent} so far`}>
      {formatDuration(Math.round(left_s))}
    </Tile>
  );
}

function Tile({ label, note, children }: { label: string; note: string; children: ReactNode }) {
  return (
    <div className={styles.tile}>
      <dt>{label}</dt>
      <dd>{children}</dd>
      <dd className={styles.note}>{note}</dd>
    </div>
  );
}
