import { useMemo } from "react";
import type { StudyView, TrialView } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { Legend } from "../../charts/Legend";
import { usePalette } from "../../charts/palette";
import { formatGbps } from "../../format/numbers";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { trialName } from "../trials/trial";
import { paretoOption, paretoPoints } from "./paretoOption";

interface ParetoPanelProps {
  study: StudyView;
  trials: readonly TrialView[];
  onSelect: (trialId: number) => void;
}

export function ParetoPanel({ study, trials, onSelect }: ParetoPanelProps) {
  const palette = usePalette();
  const option = useMemo(() => paretoOption(trials, palette), [trials, palette]);
  const table = {
    columns: ["Trial", "Throughput", "Gbit per CPU-second", "Candidate"],
    rows: paretoPoints(trials).map(({ trial, throughput_gbps, gbit_per_cpu_s }) => [
      trialName(trial),
      formatGbps(throughput_gbps),
      gbit_per_cpu_s.toFixed(2),
      trial.words,
    ]),
  };
  return (
    <Panel
      title="Throughput against efficiency"
      hint="Up and to the right is better."
      mark={<OriginMark of={study} />}
    >
      <Chart
        label="Throughput against Gbit per CPU-second of every trial"
        option={option}
        height_px={300}
        legend={
          <Legend
            entries={[
              { label: "trial", colour: palette.point, shape: "dot" },
              { label: "Pareto front", colour: palette.best, shape: "line" },
              { label: "baseline", colour: palette.baseline, shape: "diamond" },
            ]}
          />
        }
        table={table}
        onSelect={(data) => onSelect((data as { trialId: number }).trialId)}
      />
    </Panel>
  );
}
