import { useState } from "react";
import { useSearchParams } from "react-router";
import { PageHeader } from "../../layout/PageHeader";
import { useTestbeds } from "../../testbeds/queries";
import { Button, buttonClass } from "../../ui/Button";
import { EmptyState, ErrorNotice, Skeleton } from "../../ui/Notice";
import { Link } from "react-router";
import { StudyDialog } from "../form/StudyDialog";
import { useStudies } from "../queries";
import { StudiesTable } from "./StudiesTable";

/** `?tune=NAME` opens the form for that testbed. */
export function StudiesPage() {
  const { data: studies, error, isPending, refetch } = useStudies();
  const { data: testbeds } = useTestbeds();
  const [search, setSearch] = useSearchParams();
  const [open, setOpen] = useState(false);
  const wanted = search.get("tune");
  const ready = testbeds?.filter((testbed) => testbed.state === "ready") ?? [];

  function close(): void {
    setOpen(false);
    if (wanted) setSearch({}, { replace: true });
  }

  return (
    <>
      <PageHeader
        title="Studies"
        subtitle="Each one searches for the best configuration of a testbed and proves it against the baseline."
        actions={
          <Button kind="primary" icon="plus" disabled={ready.length === 0} onClick={() => setOpen(true)}>
            Tune
          </Button>
        }
      />
      {error && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {isPending && <Skeleton height_px={260} label="Loading studies" />}
      {studies?.length === 0 && (
        <EmptyState
          title="No study yet"
          action={
            ready.length === 0 && (
              <Link className={buttonClass("secondary")} to="/testbeds">
                Add a testbed
              </Link>
            )
          }
        >
          {ready.length === 0
            ? "A study needs a testbed that is ready: two gateways to measure on."
            : "Press Tune: with its defaults a study takes a few minutes and ends with a verdict and a bundle to deploy."}
        </EmptyState>
      )}
      {studies && studies.length > 0 && <StudiesTable studies={studies} />}
      {(open || wanted) && ready.length > 0 && <StudyDialog testbeds={ready} wanted={wanted} onClose={close} />}
    </>
  );
}
