import type { Bottleneck } from "../../api/types";
import { formatGbps } from "../../format/numbers";
import { Badge } from "../../ui/Badge";
import styles from "./explanation.module.css";

const KINDS: Record<Bottleneck["kind"], string> = {
  offered_load: "offered load",
  link: "link",
  all_cpus: "all CPUs",
  thread: "one thread",
  cpu: "one CPU",
  none: "nothing saturated",
};
/** A machine with more CPUs than this shows its busiest ones. */
const SHOWN_CPUS = 16;

interface Load {
  name: string;
  ratio: number;
  text: string;
}

export function BottleneckView({ title, bottleneck }: { title: string; bottleneck: Bottleneck | null }) {
  if (!bottleneck) {
    return (
      <div>
        <h4>{title}</h4>
        <p className={styles.muted}>Not measured yet.</p>
      </div>
    );
  }
  return (
    <div className={styles.bottleneck}>
      <h4>
        {title} <Badge tone={bottleneck.kind === "none" ? "neutral" : "warn"}>{KINDS[bottleneck.kind]}</Badge>
      </h4>
      <p className={styles.words}>{bottleneck.words}</p>
      <p className={styles.muted}>
        {bottleneck.workload}, {formatGbps(bottleneck.throughput_gbps)}
      </p>
      <Loads title="CPUs" loads={cpuLoads(bottleneck)} />
      <Loads title="Stages" loads={stageLoads(bottleneck)} />
      <Drops drops={bottleneck.drops} />
    </div>
  );
}

const percent = (ratio: number): string => `${(ratio * 100).toFixed(0)} %`;

/** Gateways that share a machine report the same CPUs; they are shown once. */
function cpuLoads({ cpu_busy_ratio }: Bottleneck): Load[] {
  const { a = {}, b = {} } = cpu_busy_ratio;
  const shared = Object.keys(a).length > 0 && Object.keys(a).every((cpu) => Math.abs((a[cpu] ?? 0) - (b[cpu] ?? 0)) < 0.05);
  const loads = (shared ? [["", a] as const] : [["a ", a] as const, ["b ", b] as const]).flatMap(([gateway, busy]) =>
    Object.entries(busy).map(([cpu, ratio]) => ({ name: `${gateway}CPU ${cpu}`, ratio, text: percent(ratio) })),
  );
  return loads.length <= SHOWN_CPUS ? loads : loads.sort((one, other) => other.ratio - one.ratio).slice(0, SHOWN_CPUS);
}

function stageLoads({ stages }: Bottleneck): Load[] {
  return stages.map(({ gateway, stage, threads, busy_cpus, busiest_thread_ratio }) => ({
    name: `${gateway} ${stage}`,
    ratio: busiest_thread_ratio,
    text: threads > 1 ? `${percent(busiest_thread_ratio)}; ${threads} threads: ${busy_cpus.toFixed(2)} CPUs` : percent(busiest_thread_ratio),
  }));
}

function Loads({ title, loads }: { title: string; loads: readonly Load[] }) {
  if (loads.length === 0) return null;
  return (
    <div>
      <h5>{title}</h5>
      <dl className={styles.loads}>
        {loads.map(({ name, ratio, text }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <span className={styles.track} aria-hidden="true">
                <span className={ratio >= 0.9 ? styles.full : styles.part} style={{ width: `${Math.min(1, ratio) * 100}%` }} />
              </span>
              <span className={styles.figure}>{text}</span>
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function Drops({ drops }: { drops: Bottleneck["drops"] }) {
  const counted = Object.entries(drops);
  if (counted.length === 0) return <p className={styles.muted}>The data plane dropped nothing.</p>;
  return <p className={styles.muted}>Dropped in a sample: {counted.map(([reason, count]) => `${reason} ${count}`).join(", ")}.</p>;
}
