import { fieldError } from "../api/problem";
import { InputField } from "../ui/Field";
import type { SimulationText } from "./simulation";
import form from "../ui/Form.module.css";

interface SimulationFieldsProps {
  value: SimulationText;
  onChange: (value: SimulationText) => void;
  error: unknown;
}

const FIELDS: readonly { name: keyof SimulationText; label: string; hint: string }[] = [
  { name: "sockets", label: "Sockets", hint: "Per host, each a NUMA node." },
  { name: "cores_per_socket", label: "Cores per socket", hint: "1 to 128." },
  { name: "threads_per_core", label: "Threads per core", hint: "2 with SMT." },
  { name: "noise_ratio", label: "Noise", hint: "Relative standard deviation of a sample: 0.02 is 2 %." },
  { name: "drift_per_hour", label: "Drift", hint: "Of both hosts: -0.1 loses 10 % an hour." },
  { name: "swing_ratio", label: "Swing", hint: "Amplitude of a wave of ten minutes, as a neighbour's load." },
  { name: "outlier_ratio", label: "Outliers", hint: "Share of samples that something else disturbs; they lose 40 %." },
  { name: "seed", label: "Seed", hint: "The same seed gives the same noise." },
  { name: "sample_time_ratio", label: "Pace", hint: "Share of each sample's time that really passes; 0 answers at once." },
  { name: "lab_failure_ratio", label: "Lab failures", hint: "Share of blocks that the simulated lab fails." },
  { name: "broken_candidate_ratio", label: "Broken candidates", hint: "Share of candidates that cannot run here." },
];

export function SimulationFields({ value, onChange, error }: SimulationFieldsProps) {
  return (
    <div className={form.columns}>
      {FIELDS.map(({ name, label, hint }) => (
        <InputField
          key={name}
          label={label}
          hint={hint}
          inputMode="decimal"
          value={value[name]}
          onChange={(event) => onChange({ ...value, [name]: event.target.value })}
          error={fieldError(error, `simulation.${name}`)}
        />
      ))}
    </div>
  );
}
