import { useState } from "react";
import type { TestbedView } from "../api/types";
import { PageHeader } from "../layout/PageHeader";
import { Button } from "../ui/Button";
import { EmptyState, ErrorNotice, Skeleton } from "../ui/Notice";
import { CreateTestbedDialog } from "./CreateTestbedDialog";
import { DeleteTestbedDialog } from "./DeleteTestbedDialog";
import { useTestbeds } from "./queries";
import { TestbedCard } from "./TestbedCard";
import styles from "./TestbedsPage.module.css";

export function TestbedsPage() {
  const { data, error, isPending, refetch } = useTestbeds();
  const [creating, setCreating] = useState(false);
  const [deleting, setDeleting] = useState<TestbedView>();
  const create = (
    <Button kind="primary" icon="plus" onClick={() => setCreating(true)}>
      Add testbed
    </Button>
  );

  return (
    <>
      <PageHeader title="Testbeds" subtitle="Two gateways and the link between them." actions={create} />
      {error && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {isPending && <Skeleton height_px={220} label="Loading testbeds" />}
      {data?.length === 0 && (
        <EmptyState title="No testbed yet">
          A testbed is where studies measure: two network namespaces or virtual machines on this machine, two
          hosts reached by SSH, or a simulated pair of hosts for planning.
        </EmptyState>
      )}
      {data && data.length > 0 && (
        <ul className={styles.list}>
          {data.map((testbed) => (
            <li key={testbed.name}>
              <TestbedCard testbed={testbed} onDelete={() => setDeleting(testbed)} />
            </li>
          ))}
        </ul>
      )}
      {creating && <CreateTestbedDialog onClose={() => setCreating(false)} />}
      {deleting && <DeleteTestbedDialog testbed={deleting} onClose={() => setDeleting(undefined)} />}
    </>
  );
}
