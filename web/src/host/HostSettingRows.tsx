import { useId } from "react";
import { fieldError } from "../api/problem";
import { Button, IconButton } from "../ui/Button";
import { CheckField, ChoicesField, FieldMessages, InputField, SelectField } from "../ui/Field";
import form from "../ui/Form.module.css";
import rows from "../workloads/WorkloadRows.module.css";
import { HOST_SETTINGS, hostSettingDefaults, type HostSettingName, type HostSettingText } from "./hostSetting";
import styles from "./host.module.css";

interface HostSettingRowsProps {
  /** A study searches several values of a setting, a candidate makes one. */
  purpose: "study" | "candidate";
  settings: readonly HostSettingText[];
  offered: readonly HostSettingName[];
  error: unknown;
  onChange: (settings: HostSettingText[]) => void;
}

const HINTS = {
  study: {
    none: "The gateways of this testbed have none that a study could search.",
    some: "Of kernel and NIC, on both gateways alike. Each multiplies the search; all are put back as they were.",
  },
  candidate: {
    none: "The gateways of this testbed have none that could be made.",
    some: "Of kernel and NIC, on both gateways alike; all are put back as they were.",
  },
} as const;

/** Settings of the gateways' kernels and NICs; none unless asked for. */
export function HostSettingRows({ purpose, settings, offered, error, onChange }: HostSettingRowsProps) {
  const id = useId();
  const free = offered.filter((name) => settings.every((setting) => setting.name !== name));
  const replace = (index: number, next: HostSettingText) => onChange(settings.map((setting, at) => (at === index ? next : setting)));
  return (
    <fieldset className={form.group} aria-describedby={`${id}-error`}>
      <legend>Host settings</legend>
      <p className={rows.hint}>
        {offered.length === 0 ? HINTS[purpose].none : HINTS[purpose].some}
      </p>
      {settings.map((setting, index) => (
        <HostSettingRow
          key={setting.name}
          purpose={purpose}
          error={fieldError(error, `candidate.host.${setting.name}`)}
          index={index}
          setting={setting}
          names={offered.filter((name) => name === setting.name || free.includes(name))}
          onChange={(next) => replace(index, next)}
          onRemove={() => onChange(settings.filter((_, at) => at !== index))}
        />
      ))}
      <FieldMessages id={id} error={fieldError(error, "space.host")} />
      {free[0] && (
        <div>
          <Button icon="plus" onClick={() => free[0] && onChange([...settings, hostSettingDefaults(free[0])])}>
            Add host setting
          </Button>
        </div>
      )}
    </fieldset>
  );
}

interface HostSettingRowProps {
  purpose: HostSettingRowsProps["purpose"];
  error: string | undefined;
  index: number;
  setting: HostSettingText;
  names: readonly HostSettingName[];
  onChange: (setting: HostSettingText) => void;
  onRemove: () => void;
}

function HostSettingRow({ purpose, error, index, setting, names, onChange, onRemove }: HostSettingRowProps) {
  return (
    <div className={`${rows.row} ${styles.row}`} role="group" aria-label={`Host setting ${index + 1}`}>
      <SelectField
        label="Setting"
        value={setting.name}
        onChange={(event) => onChange(hostSettingDefaults(event.target.value as HostSettingName))}
      >
        {names.map((name) => (
          <option key={name} value={name}>
            {HOST_SETTINGS[name].label}
          </option>
        ))}
      </SelectField>
      {purpose === "study" ? (
        <ValuesToSearch setting={setting} onChange={onChange} />
      ) : (
        <ValueToMake setting={setting} error={error} onChange={onChange} />
      )}
      <div className={styles.beside}>
        <IconButton icon="trash" label={`Remove host setting ${index + 1}`} onClick={onRemove} />
      </div>
    </div>
  );
}

type ValueProps = Pick<HostSettingRowProps, "setting" | "onChange">;

function ValuesToSearch({ setting, onChange }: ValueProps) {
  const { values, unit, placeholder } = HOST_SETTINGS[setting.name];
  return (
    <>
      {typeof values === "string" ? (
        <InputField
          label={values === "numbers" ? "Values, apart by commas" : "CPU sets, apart by spaces"}
          value={setting.values}
          onChange={(event) => onChange({ ...setting, values: event.target.value })}
          {...(unit ? { unit } : {})}
          {...(placeholder ? { placeholder } : {})}
        />
      ) : (
        <ChoicesField label="Values" options={values} chosen={setting.chosen} onChange={(chosen) => onChange({ ...setting, chosen })} />
      )}
      <div className={styles.beside}>
        <CheckField label="or as it is" checked={setting.as_it_is} onChange={(as_it_is) => onChange({ ...setting, as_it_is })} />
      </div>
    </>
  );
}

function ValueToMake({ setting, error, onChange }: ValueProps & { error: string | undefined }) {
  const { values, unit, placeholder } = HOST_SETTINGS[setting.name];
  if (typeof values === "string") {
    const label = values === "numbers" ? "Value" : "CPU set";
    // The first of the values that a study might search.
    const example = placeholder?.split(values === "numbers" ? "," : " ")[0];
    return (
      <InputField
        label={label}
        error={error}
        value={setting.values}
        onChange={(event) => onChange({ ...setting, values: event.target.value })}
        {...(unit ? { unit } : {})}
        {...(example ? { placeholder: example } : {})}
      />
    );
  }
  return (
    <SelectField
      label="Value"
      error={error}
      value={setting.chosen[0] ?? ""}
      onChange={(event) => onChange({ ...setting, chosen: [event.target.value] })}
    >
      <option value="" disabled>
        choose one
      </option>
      {values.map((value) => (
        <option key={value}>{value}</option>
      ))}
    </SelectField>
  );
}
