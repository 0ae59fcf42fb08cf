import type { ReactNode } from "react";
import { describeError } from "../api/problem";
import { Button } from "./Button";
import { Icon } from "./Icon";
import styles from "./Notice.module.css";
import { Words } from "./Words";

interface NoticeProps {
  tone?: "info" | "warn" | "bad";
  title?: string | undefined;
  action?: ReactNode;
  children?: ReactNode;
}

export function Notice({ tone = "info", title, action, children }: NoticeProps) {
  return (
    <div className={`${styles.notice} ${styles[tone]}`} role={tone === "bad" ? "alert" : "status"}>
      <Icon name={tone === "info" ? "info" : "alert"} />
      <div className={styles.grow}>
        {title && <p className={styles.title}>{title}</p>}
        {children}
      </div>
      {action}
    </div>
  );
}

/** What went wrong, in the service's own words, and what to do about it. */
export function ErrorNotice({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { title, detail, hint } = describeError(error);
  return (
    <Notice tone="bad" title={title} action={onRetry && <Button onClick={onRetry}>Try again</Button>}>
      {detail && <p>{detail}</p>}
      {hint && (
        <p>
          <Words>{hint}</Words>
        </p>
      )}
    </Notice>
  );
}

export function EmptyState({ title, action, children }: { title: string; action?: ReactNode; children: ReactNode }) {
  return (
    <div className={styles.empty}>
      <h3>{title}</h3>
      <p>{children}</p>
      {action}
    </div>
  );
}

/** Keeps the place of what is being loaded, so that nothing jumps when it arrives. */
export function Skeleton({ height_px, label = "Loading" }: { height_px: number; label?: string }) {
  return (
    <div role="status" aria-label={label}>
      <div className={styles.skeleton} style={{ height: height_px }} />
    </div>
  );
}
