import { fieldError } from "../../api/problem";
import { CheckField, ChoicesField, InputField, SelectField } from "../../ui/Field";
import { WorkloadRows } from "../../workloads/WorkloadRows";
import { HostSettingRows } from "../../host/HostSettingRows";
import type { HostSettingName } from "../../host/hostSetting";
import { LimitRows } from "../limits/LimitRows";
import { SpaceFields } from "./SpaceFields";
import type { Engine, StudyText } from "./studyForm";
import form from "../../ui/Form.module.css";

interface AdvancedFieldsProps {
  text: StudyText;
  engines: readonly Engine[];
  hostSettings: readonly HostSettingName[];
  error: unknown;
  onChange: (part: Partial<StudyText>) => void;
}

type NumberName = "repeats" | "finalists" | "playoff_rounds" | "verdict_rounds" | "explain_rounds" | "time_budget_min" | "seed";

const NUMBERS: readonly { name: NumberName; field: string; label: string; hint: string; unit?: string; placeholder?: string }[] = [
  { name: "repeats", field: "repeats", label: "Repeats", hint: "Most blocks a trial; one that cannot win gets fewer." },
  { name: "finalists", field: "finalists", label: "Finalists", hint: "At most so many in a round of the playoff." },
  { name: "playoff_rounds", field: "playoff_rounds", label: "Playoff rounds", hint: "At most; they choose the winner." },
  { name: "verdict_rounds", field: "verdict_rounds", label: "Verdict rounds", hint: "Fresh and interleaved; only these are reported." },
  { name: "explain_rounds", field: "explain_rounds", label: "Path rounds", hint: "Measure each change from baseline to winner; 0: none." },
  {
    name: "time_budget_min",
    field: "time_budget_s",
    label: "Time budget",
    hint: "For everything.",
    unit: "min",
    placeholder: "no limit",
  },
  { name: "seed", field: "seed", label: "Seed", hint: "Of the sampler; it is recorded.", placeholder: "random" },
];

export function AdvancedFields({ text, engines, hostSettings, error, onChange }: AdvancedFieldsProps) {
  return (
    <div className={form.form}>
      <WorkloadRows workloads={text.workloads} error={error} onChange={(workloads) => onChange({ workloads })} />
      <LimitRows limits={text.limits} error={error} onChange={(limits) => onChange({ limits })} />
      <div className={form.columns}>
        {NUMBERS.map(({ name, field, label, hint, unit, placeholder }) => (
          <InputField
            key={name}
            label={label}
            hint={hint}
            inputMode="decimal"
            value={text[name]}
            error={fieldError(error, field)}
            onChange={(event) => onChange({ [name]: event.target.value })}
            {...(unit ? { unit } : {})}
            {...(placeholder ? { placeholder } : {})}
          />
        ))}
        <SelectField
          label="Sampler"
          hint="Random is for comparison."
          value={text.sampler}
          error={fieldError(error, "sampler")}
          onChange={(event) => onChange({ sampler: event.target.value === "random" ? "random" : "tpe" })}
        >
          <option value="tpe">TPE</option>
          <option value="random">Random</option>
        </SelectField>
      </div>
      <CheckField
        label="Racing: stop measuring a candidate that cannot win any more"
        checked={text.racing}
        onChange={(racing) => onChange({ racing })}
      />
      <ChoicesField
        label="Engines"
        hint="None chosen: every engine that can run on both gateways."
        options={engines}
        chosen={text.engines}
        error={fieldError(error, "engines")}
        onChange={(chosen) => onChange({ engines: chosen })}
      />
      <SpaceFields text={text} error={error} onChange={onChange} />
      <HostSettingRows purpose="study" settings={text.host} offered={hostSettings} error={error} onChange={(host) => onChange({ host })} />
    </div>
  );
}
