import { fieldError } from "../api/problem";
import { InputField, SelectField } from "../ui/Field";
import { ARCHITECTURES, stagesOf, type Architecture, type CandidateText, type Stage } from "./candidateForm";
import form from "../ui/Form.module.css";

interface CandidateFieldsProps {
  value: CandidateText;
  onChange: (value: CandidateText) => void;
  error: unknown;
}

type NumberName = "lanes" | "crypto_workers" | "mtu" | "batch_packets" | "socket_buffer_mib";

const NUMBERS: readonly { name: NumberName; field: string; label: string; unit?: string }[] = [
  { name: "lanes", field: "lanes", label: "Lanes" },
  { name: "crypto_workers", field: "crypto_workers", label: "Crypto workers" },
  { name: "mtu", field: "mtu", label: "MTU", unit: "B" },
  { name: "batch_packets", field: "batch_packets", label: "Batch", unit: "packets" },
  { name: "socket_buffer_mib", field: "socket_buffer_bytes", label: "Socket buffers", unit: "MiB" },
];

const GATEWAYS = ["a", "b"] as const;

export function CandidateFields({ value, onChange, error }: CandidateFieldsProps) {
  const change = (part: Partial<CandidateText>) => onChange({ ...value, ...part });
  const numbers = NUMBERS.filter(({ name }) => name !== "crypto_workers" || value.architecture === "pipelined");
  return (
    <fieldset className={form.group}>
      <legend>Candidate</legend>
      <div className={form.columns}>
        <SelectField
          label="Engine and mode"
          value={value.architecture}
          error={fieldError(error, "candidate.engine") ?? fieldError(error, "candidate.mode")}
          onChange={(event) => change({ architecture: event.target.value as Architecture })}
        >
          {Object.entries(ARCHITECTURES).map(([name, { label }]) => (
            <option key={name} value={name}>
              {label}
            </option>
          ))}
        </SelectField>
        {numbers.map(({ name, field, label, unit }) => (
          <InputField
            key={name}
            label={label}
            inputMode="decimal"
            value={value[name]}
            error={fieldError(error, `candidate.${field}`)}
            onChange={(event) => change({ [name]: event.target.value })}
            {...(unit ? { unit } : {})}
          />
        ))}
        {(value.architecture === "inline" || value.architecture === "pipelined") && (
          <SelectField
            label="Spread of flows over lanes"
            value={value.spread}
            error={fieldError(error, "candidate.spread")}
            onChange={(event) => change({ spread: event.target.value as CandidateText["spread"] })}
          >
            <option value="ecmp">ecmp: a device a lane</option>
            <option value="bond">bond: one device for all</option>
          </SelectField>
        )}
        <SelectField
          label="NUMA policy"
          value={value.numa_policy}
          error={fieldError(error, "candidate.numa_policy")}
          onChange={(event) => change({ numa_policy: event.target.value as CandidateText["numa_policy"] })}
        >
          <option value="local">local</option>
          <option value="bind">bind</option>
          <option value="prefer">prefer</option>
        </SelectField>
      </div>
      {GATEWAYS.map((gateway) => (
        <CpuSetFields key={gateway} gateway={gateway} value={value} onChange={onChange} error={error} />
      ))}
    </fieldset>
  );
}

function CpuSetFields({ gateway, value, onChange, error }: CandidateFieldsProps & { gateway: "a" | "b" }) {
  const change = (stage: Stage, cpus: string) =>
    onChange({ ...value, cpu_sets: { ...value.cpu_sets, [gateway]: { ...value.cpu_sets[gateway], [stage]: cpus } } });
  return (
    <div className={form.columns} role="group" aria-label={`CPU sets of gateway ${gateway}`}>
      {stagesOf(value).map((stage) => (
        <InputField
          key={stage}
          label={`CPUs of ${stage}, gateway ${gateway}`}
          placeholder="any"
          value={value.cpu_sets[gateway][stage] ?? ""}
          error={fieldError(error, `candidate.cpu_sets.${gateway}.${stage}`)}
          onChange={(event) => change(stage, event.target.value)}
        />
      ))}
    </div>
  );
}
