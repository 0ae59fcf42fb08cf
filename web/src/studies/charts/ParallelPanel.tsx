import { useMemo } from "react";
import type { StudyView, TrialView } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { usePalette } from "../../charts/palette";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { mainMetric } from "../objectives";
import { trialName } from "../trials/trial";
import { axesOf, parallelOption, tunableText } from "./parallelOption";
import styles from "./charts.module.css";

interface ParallelPanelProps {
  study: StudyView;
  trials: readonly TrialView[];
  onSelect: (trialId: number) => void;
}

export function ParallelPanel({ study, trials, onSelect }: ParallelPanelProps) {
  const palette = usePalette();
  const metric = mainMetric(study.spec.objective);
  const finished = useMemo(() => trials.filter((trial) => trial.state !== "running"), [trials]);
  const { axes, fixed } = useMemo(() => axesOf(finished), [finished]);
  const option = useMemo(() => parallelOption({ trials: finished, metric, palette }), [finished, metric, palette]);
  const table = {
    columns: ["Trial", ...axes.map((axis) => axis.label), metric.unit],
    rows: finished.map((trial) => [
      trialName(trial),
      ...axes.map((axis) => tunableText(axis.label, trial)),
      trial.metrics ? metric.format(trial.metrics[metric.name]) : trial.state,
    ]),
  };

  return (
    <Panel
      title="What makes it fast"
      hint="A line is a trial, from its tunables to its objective: the stronger, the better. The baseline is amber."
      mark={<OriginMark of={study} />}
    >
      <div className={styles.wide}>
        <Chart
          label={`Tunables of every trial and the ${metric.label.toLowerCase()} they gave`}
          option={option}
          height_px={300}
          table={table}
          onSelect={(data) => onSelect((data as { trialId: number }).trialId)}
        />
      </div>
      {fixed.length > 0 && <p className={styles.fixed}>The same in every trial: {fixed.join(", ")}.</p>}
    </Panel>
  );
}
