import type { TrialView } from "../../api/types";
import { formatCount } from "../../format/numbers";
import { Button } from "../../ui/Button";
import { InputField, SelectField } from "../../ui/Field";
import { raceLabel } from "./trial";
import styles from "./trials.module.css";

export interface TrialFilterValues {
  text: string;
  state: string;
  engine: string;
  mode: string;
}

interface TrialFiltersProps {
  trials: readonly TrialView[];
  value: TrialFilterValues;
  onChange: (value: TrialFilterValues) => void;
  shown: number;
}

const SELECTS: readonly { name: "state" | "engine" | "mode"; label: string; of: (trial: TrialView) => string }[] = [
  { name: "state", label: "Race", of: raceLabel },
  { name: "engine", label: "Engine", of: (trial) => trial.candidate.engine },
  { name: "mode", label: "Mode", of: (trial) => trial.candidate.mode ?? "—" },
];

const EMPTY: TrialFilterValues = { text: "", state: "", engine: "", mode: "" };

export function TrialFilters({ trials, value, onChange, shown }: TrialFiltersProps) {
  const filtered = Object.values(value).some((text) => text !== "");
  return (
    <div className={styles.filters} role="search" aria-label="Filter trials">
      <InputField
        label="Filter"
        type="search"
        placeholder="tx 0, bind, inline…"
        value={value.text}
        onChange={(event) => onChange({ ...value, text: event.target.value })}
      />
      {SELECTS.map(({ name, label, of }) => (
        <SelectField key={name} label={label} value={value[name]} onChange={(event) => onChange({ ...value, [name]: event.target.value })}>
          <option value="">all</option>
          {[...new Set(trials.map(of))].sort().map((option) => (
            <option key={option} value={option}>
              {option}
            </option>
          ))}
        </SelectField>
      ))}
      <Button disabled={!filtered} onClick={() => onChange(EMPTY)}>
        Clear
      </Button>
      <p className={styles.count} role="status">
        {filtered ? `${shown} of ${formatCount(trials.length, "candidate")}` : formatCount(trials.length, "candidate")}
      </p>
    </div>
  );
}
