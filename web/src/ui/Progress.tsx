import styles from "./Progress.module.css";

/** `ratio` between 0 and 1. */
export function Progress({ ratio, label }: { ratio: number; label: string }) {
  const percent = Math.round(Math.min(1, Math.max(0, ratio)) * 100);
  return (
    <div className={styles.track} role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
      <div className={styles.bar} style={{ width: `${percent}%` }} />
    </div>
  );
}
