import { formatRatio } from "../format/numbers";
import styles from "./samples.module.css";

interface MeterListProps {
  title: string;
  note?: string;
  meters: readonly { label: string; ratio: number }[];
}

/** Named shares as bars, each with its figure beside it. */
export function MeterList({ title, note, meters }: MeterListProps) {
  return (
    <div className={styles.meterList}>
      <h5>{title}</h5>
      {note && <p className={styles.note}>{note}</p>}
      <ul>
        {meters.map(({ label, ratio }) => (
          <li key={label} className={styles.meter}>
            <span>{label}</span>
            <span aria-hidden="true" className={styles.track}>
              <span className={styles.fill} style={{ width: `${Math.min(1, ratio) * 100}%` }} />
            </span>
            <span className={styles.figure}>{formatRatio(ratio)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
