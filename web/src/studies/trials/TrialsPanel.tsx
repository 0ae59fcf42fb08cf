import { useTable } from "@tanstack/react-table";
import { useState } from "react";
import type { StudyView, TrialView } from "../../api/types";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { trialColumns, trialFeatures } from "./columns";
import { TrialFilters, type TrialFilterValues } from "./TrialFilters";
import { TrialsTable } from "./TrialsTable";
import styles from "./trials.module.css";

interface TrialsPanelProps {
  study: StudyView;
  trials: TrialView[];
  onSelect: (trialId: number) => void;
}

const NO_FILTERS: TrialFilterValues = { text: "", state: "", engine: "", mode: "" };

export function TrialsPanel({ study, trials, onSelect }: TrialsPanelProps) {
  const [filters, setFilters] = useState(NO_FILTERS);
  const [sorting, setSorting] = useState([{ id: "number", desc: false }]);
  const columnFilters = (["state", "engine", "mode"] as const).flatMap((id) => (filters[id] ? [{ id, value: filters[id] }] : []));
  const table = useTable({
    features: trialFeatures,
    columns: trialColumns,
    data: trials,
    getRowId: (trial) => String(trial.id),
    state: { sorting, columnFilters, globalFilter: filters.text },
    onSortingChange: setSorting,
    globalFilterFn: "includesString",
    enableSortingRemoval: false,
  });
  const shown = table.getRowModel().rows.length;

  return (
    <Panel title="Every trial" mark={<OriginMark of={study} />} flush>
      <TrialFilters trials={trials} value={filters} onChange={setFilters} shown={shown} />
      <TrialsTable table={table} bestNumber={study.verdict?.best_trial_number ?? study.progress.best?.number ?? null} onSelect={onSelect} />
      {shown === 0 && (
        <p className={styles.none}>{trials.length === 0 ? "No trial has begun yet." : "No trial matches the filters."}</p>
      )}
    </Panel>
  );
}
