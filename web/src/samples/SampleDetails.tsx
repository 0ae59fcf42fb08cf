import type { Sample } from "../api/types";
import { formatDuration, formatGbps, formatPps, formatRatio } from "../format/numbers";
import { OriginMark } from "../ui/Badge";
import { Notice } from "../ui/Notice";
import { workloadName } from "../workloads/workload";
import { MeterList } from "./MeterList";
import { QueueTable } from "./QueueTable";
import { commandLine } from "./commandLine";
import styles from "./samples.module.css";

/** Everything one sample says: rates, both gateways' CPUs, lane shares, and the commands that measured it. */
export function SampleDetails({ sample }: { sample: Sample }) {
  const name = workloadName(sample.workload);
  return (
    <section className={styles.sample} aria-label={`Sample ${name}`}>
      <h4 className={styles.title}>
        {name} <OriginMark of={sample} />
      </h4>
      <SampleFacts sample={sample} />
      {sample.unfit.length > 0 && (
        <Notice tone="warn" title="Taken while a host was unfit to measure">
          <p>{sample.unfit.map(({ words }) => words).join("; ")}</p>
        </Notice>
      )}
      {sample.warnings.length > 0 && <Notice tone="warn">{sample.warnings.join(" ")}</Notice>}
      <div className={styles.meters}>
        {Object.entries(sample.gateways).map(([gateway, usage]) => (
          <MeterList
            key={gateway}
            title={`Gateway ${gateway}, CPU busy`}
            note={`data plane ${formatDuration(usage.data_plane_cpu_s)} CPU${usage.steal_ratio ? `, stolen ${formatRatio(usage.steal_ratio)}` : ""}`}
            meters={Object.entries(usage.cpu_busy_ratio).map(([cpu, ratio]) => ({ label: `CPU ${cpu}`, ratio }))}
          />
        ))}
        <MeterList
          title="Lane shares"
          note="of the inner bytes"
          meters={sample.lane_shares.map((ratio, lane) => ({ label: `lane ${lane}`, ratio }))}
        />
      </div>
      <QueueTable sample={sample} />
      {sample.argv.length > 0 && (
        <details className={styles.commands}>
          <summary>
            Commands ({sample.argv.length}), {sample.tool_version}
          </summary>
          {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
          <pre tabIndex={0}>{sample.argv.map(commandLine).join("\n")}</pre>
        </details>
      )}
    </section>
  );
}

function SampleFacts({ sample }: { sample: Sample }) {
  const facts = [
    ["Throughput", formatGbps(sample.throughput_gbps)],
    ["Packets", formatPps(sample.packets_per_s)],
    ["Loss", formatRatio(sample.loss_ratio)],
    ["Retransmits", sample.retransmits === null || sample.retransmits === undefined ? "—" : String(sample.retransmits)],
    ["CPU-seconds per Gbit", sample.data_plane_cpu_s_per_gbit.toPrecision(3)],
    ["Measured for", formatDuration(sample.duration_s)],
  ] as const;
  return (
    <dl className={styles.facts}>
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
