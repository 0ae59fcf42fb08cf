import { useParams } from "react-router";
import type { MeasurementView } from "../api/types";
import { PageHeader } from "../layout/PageHeader";
import { PhaseBar } from "../samples/PhaseBar";
import { SampleDetails } from "../samples/SampleDetails";
import { OriginMark } from "../ui/Badge";
import { Button } from "../ui/Button";
import { ErrorNotice, Notice, Skeleton } from "../ui/Notice";
import { Panel } from "../ui/Panel";
import { Words } from "../ui/Words";
import { MeasurementBadge } from "./MeasurementBadge";
import styles from "./measurements.module.css";
import { isBusy, useCancelMeasurement, useMeasurement } from "./queries";

export function MeasurementPage() {
  const { id = "" } = useParams();
  const { data, error, refetch } = useMeasurement(id);
  if (data) return <LoadedMeasurement measurement={data} />;
  return (
    <>
      <PageHeader title={`Measurement ${id}`} />
      {error ? <ErrorNotice error={error} onRetry={() => void refetch()} /> : <Skeleton height_px={260} label="Loading the measurement" />}
    </>
  );
}

function LoadedMeasurement({ measurement }: { measurement: MeasurementView }) {
  const cancel = useCancelMeasurement(measurement.id);
  const busy = isBusy(measurement.state);
  const simulated = <OriginMark of={measurement} />;
  return (
    <>
      <PageHeader
        title={`Measurement ${measurement.id}`}
        marks={
          <>
            <MeasurementBadge state={measurement.state} />
            {simulated}
          </>
        }
        subtitle={`testbed ${measurement.testbed} · ${measurement.words}`}
        actions={
          busy &&
          measurement.state !== "cancelling" && (
            <Button kind="danger" icon="stop" disabled={cancel.isPending} onClick={() => cancel.mutate()}>
              Cancel
            </Button>
          )
        }
      />
      {cancel.error && <ErrorNotice error={cancel.error} />}
      {busy && <Notice>{measurement.lab_phase ?? "Waits for its testbed."}</Notice>}
      {measurement.detail && (
        <Notice tone={measurement.state === "failed" ? "bad" : "warn"} title={measurement.detail}>
          {measurement.hint && (
            <p>
              <Words>{measurement.hint}</Words>
            </p>
          )}
        </Notice>
      )}
      {measurement.samples.length > 0 && (
        <Panel title="Samples" mark={simulated}>
          <div className={styles.samples}>
            {measurement.timings && <PhaseBar timings={measurement.timings} />}
            {measurement.samples.map((sample, position) => (
              <SampleDetails key={position} sample={sample} />
            ))}
          </div>
        </Panel>
      )}
    </>
  );
}
