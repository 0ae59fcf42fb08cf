import { useRouteError } from "react-router";
import { ErrorNotice } from "../ui/Notice";
import { PageHeader } from "./PageHeader";
import styles from "./Shell.module.css";

/** A defect of the dashboard itself: say so instead of showing an empty page. */
export function FaultPage() {
  const error = useRouteError();
  return (
    <main className={styles.main}>
      <PageHeader title="This page broke" />
      <ErrorNotice error={error} onRetry={() => window.location.reload()} />
    </main>
  );
}
