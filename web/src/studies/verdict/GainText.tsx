import { formatGain } from "../../format/numbers";
import styles from "./verdict.module.css";

export interface PairedGain {
  gain: number;
  gain_low: number;
  gain_high: number;
}

function toneClass({ gain_low, gain_high }: PairedGain): string | undefined {
  if (gain_low > 1) return styles.better;
  return gain_high < 1 ? styles.worse : styles.undecided;
}

/** "+41.2 % (+38.0 % to +44.5 %)": a gain never stands without its interval. */
export function GainText({ gain }: { gain: PairedGain }) {
  return (
    <span className={styles.gainText}>
      <strong className={toneClass(gain)}>{formatGain(gain.gain - 1)}</strong>{" "}
      <span className={styles.interval}>
        {formatGain(gain.gain_low - 1)} to {formatGain(gain.gain_high - 1)}
      </span>
    </span>
  );
}
