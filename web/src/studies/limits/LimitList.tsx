import { Badge } from "../../ui/Badge";
import { checkInWords, type ConstraintCheck } from "./limit";
import styles from "./limits.module.css";

/** Each limit of the study with what was measured: kept, or how far beyond. */
export function LimitList({ checks }: { checks: readonly ConstraintCheck[] }) {
  if (checks.length === 0) return null;
  return (
    <ul className={styles.list} aria-label="Limits">
      {checks.map((check) => (
        <li key={check.words}>
          <Badge tone={check.violation > 0 ? "bad" : check.value === null ? "warn" : "good"}>
            {check.violation > 0 ? "beyond" : check.value === null ? "unknown" : "kept"}
          </Badge>
          <span>
            {check.words}: <strong>{checkInWords(check)}</strong>
          </span>
        </li>
      ))}
    </ul>
  );
}
