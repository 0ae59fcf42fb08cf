import type { BlockView } from "../api/types";
import { formatDuration } from "../format/numbers";
import styles from "./PhaseBar.module.css";

const PHASES = [
  { name: "apply", key: "apply_s" },
  { name: "verify", key: "verify_s" },
  { name: "measure", key: "measure_s" },
  { name: "collect", key: "collect_s" },
] as const;

/** Where the time of a block went. */
export function PhaseBar({ timings }: { timings: BlockView["timings"] }) {
  const total_s = timings.total_s;
  const parts = PHASES.map(({ name, key }) => ({ name, duration_s: timings[key] }));
  const rest_s = Math.max(0, total_s - parts.reduce((sum, { duration_s }) => sum + duration_s, 0));
  const all = [...parts, { name: "start", duration_s: rest_s }];
  if (total_s <= 0) return null;
  return (
    <div>
      <div className={styles.bar} aria-hidden="true">
        {all.map(({ name, duration_s }) => (
          <span key={name} className={styles[name]} style={{ width: `${(duration_s / total_s) * 100}%` }} />
        ))}
      </div>
      <ul className={styles.legend}>
        {all.map(({ name, duration_s }) => (
          <li key={name}>
            <span aria-hidden="true" className={`${styles.swatch} ${styles[name]}`} />
            {name} {formatDuration(duration_s)}
          </li>
        ))}
        <li>total {formatDuration(total_s)}</li>
      </ul>
    </div>
  );
}
