import { useState, type SubmitEvent } from "react";
import { useNavigate } from "react-router";
import { fieldError } from "../api/problem";
import type { TestbedView } from "../api/types";
import { CandidateFields } from "../candidates/CandidateFields";
import { CANDIDATE_DEFAULTS, candidateOf } from "../candidates/candidateForm";
import { numberOf } from "../format/input";
import { HostSettingRows } from "../host/HostSettingRows";
import { hostTuningOf, offeredSettings, type HostSettingText } from "../host/hostSetting";
import { OriginMark } from "../ui/Badge";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { InputField, SelectField } from "../ui/Field";
import { ErrorNotice } from "../ui/Notice";
import { WORKLOAD_DEFAULTS, workloadOf, type WorkloadText } from "../workloads/workload";
import { WorkloadRows } from "../workloads/WorkloadRows";
import form from "../ui/Form.module.css";
import { useCreateMeasurement } from "./queries";

export function MeasurementDialog({ testbeds, onClose }: { testbeds: readonly TestbedView[]; onClose: () => void }) {
  const [testbed, setTestbed] = useState(testbeds[0]?.name ?? "");
  const [duration, setDuration] = useState("3");
  const [candidate, setCandidate] = useState(CANDIDATE_DEFAULTS);
  const [host, setHost] = useState<HostSettingText[]>([]);
  const [workloads, setWorkloads] = useState<WorkloadText[]>([WORKLOAD_DEFAULTS]);
  const create = useCreateMeasurement();
  const navigate = useNavigate();
  const chosen = testbeds.find(({ name }) => name === testbed);
  const offered = offeredSettings(chosen?.gateways);

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const body = {
      testbed,
      candidate: { ...candidateOf(candidate), host: hostTuningOf(host) },
      workloads: workloads.map((workload) => workloadOf(workload, numberOf(duration))),
    };
    create.mutate(body, { onSuccess: ({ id }) => void navigate(`/measurements/${id}`) });
  }

  return (
    <Dialog title="Measure one candidate" mark={chosen && <OriginMark of={chosen} />} onClose={onClose}>
      <form className={form.form} onSubmit={submit} noValidate>
        {create.error && <ErrorNotice error={create.error} />}
        <div className={form.columns}>
          <SelectField
            label="Testbed"
            value={testbed}
            error={fieldError(create.error, "testbed")}
            onChange={(event) => {
              setTestbed(event.target.value);
              setHost([]);
            }}
          >
            {testbeds.map(({ name, driver }) => (
              <option key={name} value={name}>
                {name} ({driver})
              </option>
            ))}
          </SelectField>
          <InputField
            label="Sample length"
            unit="s"
            inputMode="decimal"
            value={duration}
            error={fieldError(create.error, "workloads.0.duration_s")}
            onChange={(event) => setDuration(event.target.value)}
          />
        </div>
        <CandidateFields value={candidate} onChange={setCandidate} error={create.error} />
        <HostSettingRows
          purpose="candidate"
          settings={host}
          offered={offered}
          error={create.error}
          onChange={setHost}
        />
        <WorkloadRows workloads={workloads} onChange={setWorkloads} error={create.error} />
        <div className={form.buttons}>
          <Button onClick={onClose}>Close</Button>
          <Button kind="primary" type="submit" disabled={create.isPending}>
            {create.isPending ? "Starting…" : "Measure"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
