import { fieldError } from "../../api/problem";
import { Button, IconButton } from "../../ui/Button";
import { InputField, SelectField } from "../../ui/Field";
import form from "../../ui/Form.module.css";
import rows from "../../workloads/WorkloadRows.module.css";
import { LIMIT_DEFAULTS, LIMIT_KINDS, type LimitMetric, type LimitText } from "./limit";
import styles from "./limits.module.css";

interface LimitRowsProps {
  limits: readonly LimitText[];
  onChange: (limits: LimitText[]) => void;
  error: unknown;
}

/** Limits that the winner must keep to, whatever it gains. */
export function LimitRows({ limits, onChange, error }: LimitRowsProps) {
  const replace = (index: number, next: LimitText) => onChange(limits.map((limit, at) => (at === index ? next : limit)));
  return (
    <fieldset className={form.group}>
      <legend>Limits</legend>
      {limits.length === 0 && <p className={rows.hint}>None: the winner may take as many CPUs and as much time as it wants.</p>}
      {limits.map((limit, index) => (
        <LimitRow
          key={index}
          index={index}
          limit={limit}
          error={error}
          onChange={(next) => replace(index, next)}
          onRemove={() => onChange(limits.filter((_, at) => at !== index))}
        />
      ))}
      <div>
        <Button icon="plus" onClick={() => onChange([...limits, LIMIT_DEFAULTS])}>
          Add limit
        </Button>
      </div>
    </fieldset>
  );
}

interface LimitRowProps {
  index: number;
  limit: LimitText;
  error: unknown;
  onChange: (limit: LimitText) => void;
  onRemove: () => void;
}

function LimitRow({ index, limit, error, onChange, onRemove }: LimitRowProps) {
  const messageFor = (field: string) => fieldError(error, `constraints.${index}.${field}`);
  const { unit } = LIMIT_KINDS[limit.metric];
  return (
    <div className={`${rows.row} ${styles.row}`} role="group" aria-label={`Limit ${index + 1}`}>
      <SelectField
        label="Metric"
        value={limit.metric}
        error={messageFor("metric")}
        onChange={(event) => {
          const metric = event.target.value as LimitMetric;
          onChange({ ...limit, metric, side: LIMIT_KINDS[metric].side, ...(metric === "loss_ratio" ? { of_baseline: false } : {}) });
        }}
      >
        {Object.entries(LIMIT_KINDS).map(([metric, { label }]) => (
          <option key={metric} value={metric}>
            {label}
          </option>
        ))}
      </SelectField>
      <SelectField
        label="Side"
        value={limit.side}
        onChange={(event) => onChange({ ...limit, side: event.target.value === "at_least" ? "at_least" : "at_most" })}
      >
        <option value="at_most">at most</option>
        <option value="at_least">at least</option>
      </SelectField>
      <InputField
        label="Value"
        unit={limit.of_baseline ? "%" : unit}
        inputMode="decimal"
        value={limit.value}
        error={messageFor(limit.side)}
        onChange={(event) => onChange({ ...limit, value: event.target.value })}
      />
      <SelectField
        label="Of"
        value={limit.of_baseline ? "baseline" : "absolute"}
        onChange={(event) => onChange({ ...limit, of_baseline: event.target.value === "baseline" })}
      >
        <option value="baseline">the baseline</option>
        <option value="absolute">{`absolute, ${unit}`}</option>
      </SelectField>
      <IconButton icon="trash" label={`Remove limit ${index + 1}`} onClick={onRemove} />
    </div>
  );
}
