import { useState } from "react";
import { Link } from "react-router";
import type { MeasurementView } from "../api/types";
import { formatGbps } from "../format/numbers";
import { formatAgo, formatTimestamp } from "../format/times";
import { useNow } from "../format/useNow";
import { PageHeader } from "../layout/PageHeader";
import { useTestbeds } from "../testbeds/queries";
import { OriginMark } from "../ui/Badge";
import { Button } from "../ui/Button";
import { EmptyState, ErrorNotice, Skeleton } from "../ui/Notice";
import { ScrollRegion } from "../ui/ScrollRegion";
import table from "../ui/Table.module.css";
import { MeasurementBadge } from "./MeasurementBadge";
import { MeasurementDialog } from "./MeasurementDialog";
import styles from "./measurements.module.css";
import { useMeasurements } from "./queries";

export function MeasurementsPage() {
  const { data, error, isPending, refetch } = useMeasurements();
  const { data: testbeds } = useTestbeds();
  const [open, setOpen] = useState(false);
  const ready = testbeds?.filter((testbed) => testbed.state === "ready") ?? [];
  return (
    <>
      <PageHeader
        title="Measurements"
        subtitle="One candidate, some workloads, no search."
        actions={
          <Button kind="primary" icon="plus" disabled={ready.length === 0} onClick={() => setOpen(true)}>
            Measure
          </Button>
        }
      />
      {error && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {isPending && <Skeleton height_px={220} label="Loading measurements" />}
      {data?.length === 0 && (
        <EmptyState title="No measurement yet">
          {ready.length === 0
            ? "A measurement needs a testbed that is ready."
            : "Press Measure to apply one configuration to a testbed and see what it carries."}
        </EmptyState>
      )}
      {data && data.length > 0 && <MeasurementsTable measurements={data} />}
      {open && ready.length > 0 && <MeasurementDialog testbeds={ready} onClose={() => setOpen(false)} />}
    </>
  );
}

function MeasurementsTable({ measurements }: { measurements: readonly MeasurementView[] }) {
  const now_ms = useNow(1000);
  return (
    <div className={styles.frame}>
      <ScrollRegion label="Measurements">
        <table className={table.table}>
          <thead>
            <tr>
              <th scope="col">Measurement</th>
              <th scope="col">State</th>
              <th scope="col">Testbed</th>
              <th scope="col">Candidate</th>
              <th scope="col">Throughput</th>
              <th scope="col">Asked for</th>
            </tr>
          </thead>
          <tbody>
            {measurements.map((measurement) => (
              <tr key={measurement.id}>
                <td className={table.nowrap}>
                  <Link to={`/measurements/${measurement.id}`}>{measurement.id}</Link>
                </td>
                <td className={table.nowrap}>
                  <MeasurementBadge state={measurement.state} /> <OriginMark of={measurement} />
                </td>
                <td>
                  <code>{measurement.testbed}</code>
                </td>
                <td className={styles.words}>{measurement.words}</td>
                <td className={table.nowrap}>
                  {measurement.samples.map((sample) => formatGbps(sample.throughput_gbps)).join(", ") || "—"}
                </td>
                <td className={table.nowrap}>
                  <time dateTime={measurement.created_at} title={formatTimestamp(measurement.created_at)}>
                    {formatAgo(measurement.created_at, now_ms)}
                  </time>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollRegion>
    </div>
  );
}
