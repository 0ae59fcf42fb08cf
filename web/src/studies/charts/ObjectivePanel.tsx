import { useMemo, useState } from "react";
import type { StudyView, TrialView } from "../../api/types";
import { Chart, type ChartTable } from "../../charts/Chart";
import { Legend, type LegendEntry } from "../../charts/Legend";
import { usePalette, type Palette } from "../../charts/palette";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { Segmented } from "../../ui/Segmented";
import { METRICS, mainMetric, type Metric, type MetricName } from "../objectives";
import { trialName, valuesOf } from "../trials/trial";
import { objectiveOption, type TrialPoint } from "./objectiveOption";

interface ObjectivePanelProps {
  study: StudyView;
  trials: readonly TrialView[];
  onSelect: (trialId: number) => void;
}

function legendOf(palette: Palette): LegendEntry[] {
  return [
    { label: "one block", colour: palette.point, shape: "dot" },
    { label: "best so far", colour: palette.best, shape: "line" },
    { label: "baseline", colour: palette.baseline, shape: "dashed" },
    { label: "infeasible", colour: palette.baseline, shape: "diamond" },
    { label: "failed", colour: palette.failed, shape: "cross" },
  ];
}

function tableOf(trials: readonly TrialView[], metric: Metric): ChartTable {
  return {
    columns: ["Trial", "State", `Blocks, ${metric.unit}`, "Candidate"],
    rows: trials.map((trial) => [
      trialName(trial),
      trial.state,
      valuesOf(trial, metric.name).map(metric.format).join(", ") || "—",
      trial.words,
    ]),
  };
}

export function ObjectivePanel({ study, trials, onSelect }: ObjectivePanelProps) {
  const palette = usePalette();
  const [name, setName] = useState<MetricName>(mainMetric(study.spec.objective).name);
  const metric = METRICS.find((candidate) => candidate.name === name) ?? mainMetric(study.spec.objective);
  const trialsTotal = study.progress.trials_total;
  const option = useMemo(() => objectiveOption({ trials, trialsTotal, metric, palette }), [trials, trialsTotal, metric, palette]);

  return (
    <Panel
      title="Trials"
      hint="The search's view: noisy on purpose. Only the verdict compares fresh, interleaved blocks."
      mark={<OriginMark of={study} />}
      actions={
        <Segmented
          label="Metric"
          value={name}
          onChange={setName}
          options={METRICS.map((candidate) => ({ value: candidate.name, label: candidate.label }))}
        />
      }
    >
      <Chart
        label={`${metric.label} of every trial`}
        option={option}
        height_px={300}
        legend={<Legend entries={legendOf(palette)} />}
        table={tableOf(trials, metric)}
        onSelect={(data) => onSelect((data as TrialPoint).trialId)}
      />
    </Panel>
  );
}
