import type { Sample } from "../api/types";
import { formatRatio } from "../format/numbers";
import styles from "./samples.module.css";

const counted = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name.replaceAll("_", " ")} ${count.toLocaleString("en")}`)
    .join(", ");

/** One line a CPU and a queue of each gateway. */
export function queueLines(sample: Sample): string[] {
  return Object.entries(sample.gateways).flatMap(([gateway, usage]) => [
    ...Object.entries(usage.softnet).map(
      ([cpu, counts]) => `${gateway}  CPU ${cpu}: ${counted({ ...counts })}, softirq ${formatRatio(usage.softirq_ratio[cpu] ?? 0)}`,
    ),
    ...Object.entries(usage.queues).map(([queue, counts]) => `${gateway}  queue ${queue}: ${counted(counts)}`),
  ]);
}

/** What each CPU received for the network stack, and each queue of the link's interface, folded away. */
export function QueueTable({ sample }: { sample: Sample }) {
  const lines = queueLines(sample);
  if (lines.length === 0) return null;
  return (
    <details className={styles.commands}>
      <summary>CPUs and queues ({lines.length})</summary>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre tabIndex={0}>{lines.join("\n")}</pre>
    </details>
  );
}
