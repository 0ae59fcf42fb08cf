import type { ReactNode } from "react";
import styles from "./Badge.module.css";

export type Tone = "neutral" | "good" | "bad" | "warn" | "info" | "sim";

interface BadgeProps {
  tone?: Tone;
  busy?: boolean;
  children: ReactNode;
}

export function Badge({ tone = "neutral", busy = false, children }: BadgeProps) {
  return (
    <span className={tone === "neutral" ? styles.badge : `${styles.badge} ${styles[tone]}`}>
      {busy && <span aria-hidden="true" className={`${styles.dot} ${styles.pulse}`} />}
      {children}
    </span>
  );
}

/** Stands beside every figure that came from the cost model and not from a host. */
export function SimulatedMark() {
  return <Badge tone="sim">simulated</Badge>;
}

/** Stands beside what was measured on emulated CPUs: the behaviour is real, the speed means nothing. */
export function EmulatedMark() {
  return <Badge tone="sim">emulated</Badge>;
}
