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

interface OriginMarkProps {
  of: { simulated: boolean; emulated?: boolean };
}

/** Stands beside figures of the cost model, where no packet was sent, and of emulated CPUs, whose speed means nothing. */
export function OriginMark({ of }: OriginMarkProps) {
  if (of.simulated) {
    return <Badge tone="sim">simulated</Badge>;
  }
  return of.emulated ? <Badge tone="sim">emulated</Badge> : null;
}
