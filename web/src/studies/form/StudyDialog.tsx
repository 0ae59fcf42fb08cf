import { useState, type SubmitEvent } from "react";
import { useNavigate } from "react-router";
import { fieldError } from "../../api/problem";
import type { TestbedView } from "../../api/types";
import { formatDuration } from "../../format/numbers";
import { OriginMark } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { InputField, SelectField } from "../../ui/Field";
import { ErrorNotice } from "../../ui/Notice";
import { offeredSettings } from "../../host/hostSetting";
import { OBJECTIVE_LABELS, type ObjectiveName } from "../objectives";
import { useCreateStudy } from "../queries";
import { AdvancedFields } from "./AdvancedFields";
import { estimatedDuration_s, studyDefaults, studyOf, type Engine, type StudyText } from "./studyForm";
import form from "../../ui/Form.module.css";
import styles from "./StudyDialog.module.css";

interface StudyDialogProps {
  testbeds: readonly TestbedView[];
  wanted: string | null;
  onClose: () => void;
}

export function StudyDialog({ testbeds, wanted, onClose }: StudyDialogProps) {
  const preferred = testbeds.find(({ name }) => name === wanted) ?? testbeds[0];
  const [text, setText] = useState<StudyText>(() => studyDefaults(preferred?.name ?? ""));
  const navigate = useNavigate();
  const create = useCreateStudy();
  const testbed = testbeds.find(({ name }) => name === text.testbed);
  const duration_s = estimatedDuration_s(text);
  const change = (part: Partial<StudyText>) => setText({ ...text, ...part });
  const messageFor = (field: string) => fieldError(create.error, field);

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    create.mutate(studyOf(text), { onSuccess: (study) => void navigate(`/studies/${study.id}`) });
  }

  return (
    <Dialog title="Tune a testbed" mark={testbed && <OriginMark of={testbed} />} onClose={onClose}>
      <form className={form.form} onSubmit={submit} noValidate>
        {create.error && <ErrorNotice error={create.error} />}
        <div className={form.columns}>
          <SelectField
            label="Testbed"
            value={text.testbed}
            error={messageFor("testbed")}
            onChange={(event) => change({ testbed: event.target.value, host: [] })}
          >
            {testbeds.map(({ name, driver }) => (
              <option key={name} value={name}>
                {name} ({driver})
              </option>
            ))}
          </SelectField>
          <SelectField
            label="Objective"
            value={text.objective}
            error={messageFor("objective")}
            onChange={(event) => change({ objective: event.target.value as ObjectiveName })}
          >
            {Object.entries(OBJECTIVE_LABELS).map(([name, label]) => (
              <option key={name} value={name}>
                {label}
              </option>
            ))}
          </SelectField>
        </div>
        <div className={form.columns}>
          <InputField
            label="Trials"
            hint="Candidates to try."
            inputMode="numeric"
            value={text.trials}
            error={messageFor("trials")}
            onChange={(event) => change({ trials: event.target.value })}
          />
          <InputField
            label="Sample length"
            unit="s"
            hint="Of one measurement."
            inputMode="decimal"
            value={text.sample_seconds}
            error={messageFor("sample_seconds")}
            onChange={(event) => change({ sample_seconds: event.target.value })}
          />
          <InputField
            label="Label"
            hint="Free text, to find it again."
            value={text.label}
            error={messageFor("label")}
            onChange={(event) => change({ label: event.target.value })}
          />
        </div>
        <details className={styles.advanced}>
          <summary>Advanced options</summary>
          <AdvancedFields
            text={text}
            engines={enginesOf(testbed)}
            hostSettings={offeredSettings(testbed?.gateways)}
            error={create.error}
            onChange={change}
          />
        </details>
        <div className={form.buttons}>
          <p className={styles.estimate}>{!testbed?.simulated && duration_s !== null && `Takes about ${formatDuration(duration_s)}.`}</p>
          <Button onClick={onClose}>Close</Button>
          <Button kind="primary" type="submit" disabled={create.isPending}>
            {create.isPending ? "Starting…" : "Start study"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function enginesOf(testbed: TestbedView | undefined): Engine[] {
  const perGateway = Object.values(testbed?.gateways ?? {}).map((gateway) => gateway.engines);
  const [first, ...others] = perGateway;
  return first?.filter((engine) => others.every((engines) => engines.includes(engine))) ?? [];
}
