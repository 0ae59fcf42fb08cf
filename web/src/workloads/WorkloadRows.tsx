import { fieldError } from "../api/problem";
import { Button, IconButton } from "../ui/Button";
import { InputField, SelectField } from "../ui/Field";
import { KIND_LABELS, WORKLOAD_DEFAULTS, type WorkloadKind, type WorkloadText } from "./workload";
import form from "../ui/Form.module.css";
import styles from "./WorkloadRows.module.css";

interface WorkloadRowsProps {
  workloads: readonly WorkloadText[];
  onChange: (workloads: WorkloadText[]) => void;
  error: unknown;
}

const LOAD_UNITS: Partial<Record<WorkloadKind, string>> = { "iperf3-udp": "Gbit/s", pktgen: "Mpps", "pktgen-imix": "Mpps" };
const LOAD_FIELDS: Partial<Record<WorkloadKind, string>> = { "iperf3-udp": "offered_load_gbps", pktgen: "offered_load_pps", "pktgen-imix": "offered_load_pps" };

export function WorkloadRows({ workloads, onChange, error }: WorkloadRowsProps) {
  const replace = (index: number, next: WorkloadText) => onChange(workloads.map((workload, at) => (at === index ? next : workload)));
  return (
    <fieldset className={form.group}>
      <legend>Workloads</legend>
      {workloads.map((workload, index) => (
        <WorkloadRow
          key={index}
          index={index}
          workload={workload}
          error={error}
          onChange={(next) => replace(index, next)}
          onRemove={workloads.length > 1 ? () => onChange(workloads.filter((_, at) => at !== index)) : undefined}
        />
      ))}
      <div>
        <Button icon="plus" onClick={() => onChange([...workloads, WORKLOAD_DEFAULTS])}>
          Add workload
        </Button>
      </div>
    </fieldset>
  );
}

interface WorkloadRowProps {
  index: number;
  workload: WorkloadText;
  error: unknown;
  onChange: (workload: WorkloadText) => void;
  onRemove: (() => void) | undefined;
}

function WorkloadRow({ index, workload, error, onChange, onRemove }: WorkloadRowProps) {
  const messageFor = (field: string) => fieldError(error, `workloads.${index}.${field}`);
  const unit = LOAD_UNITS[workload.kind];
  const loadField = LOAD_FIELDS[workload.kind];
  return (
    <div className={styles.row} role="group" aria-label={`Workload ${index + 1}`}>
      <SelectField
        label="Traffic"
        value={workload.kind}
        error={messageFor("tool") ?? messageFor("protocol")}
        onChange={(event) => onChange({ ...workload, kind: event.target.value as WorkloadKind })}
      >
        {Object.entries(KIND_LABELS).map(([kind, label]) => (
          <option key={kind} value={kind}>
            {label}
          </option>
        ))}
      </SelectField>
      <SelectField
        label="Direction"
        value={workload.direction}
        error={messageFor("direction")}
        onChange={(event) => onChange({ ...workload, direction: event.target.value as WorkloadText["direction"] })}
      >
        <option value="forward">a → b</option>
        <option value="reverse">b → a</option>
        {!workload.kind.startsWith("pktgen") && <option value="both">both ways</option>}
      </SelectField>
      <InputField
        label="Flows"
        inputMode="numeric"
        value={workload.flows}
        error={messageFor("flows")}
        onChange={(event) => onChange({ ...workload, flows: event.target.value })}
      />
      {unit && loadField && (
        <>
          {workload.kind !== "pktgen-imix" && (
            <InputField
              label="Packet"
              unit="B"
              placeholder="MTU"
              inputMode="numeric"
              value={workload.packet_bytes}
              error={messageFor("packet_bytes")}
              onChange={(event) => onChange({ ...workload, packet_bytes: event.target.value })}
            />
          )}
          <InputField
            label="Offered load"
            unit={unit}
            placeholder="max"
            inputMode="decimal"
            value={workload.offered_load}
            error={messageFor(loadField)}
            onChange={(event) => onChange({ ...workload, offered_load: event.target.value })}
          />
        </>
      )}
      {onRemove && <IconButton icon="trash" label={`Remove workload ${index + 1}`} onClick={onRemove} />}
    </div>
  );
}
