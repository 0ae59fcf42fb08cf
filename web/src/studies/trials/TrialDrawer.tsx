import type { BlockView, TrialView } from "../../api/types";
import { formatDuration, formatGain } from "../../format/numbers";
import { PhaseBar } from "../../samples/PhaseBar";
import { SampleDetails } from "../../samples/SampleDetails";
import { Badge, OriginMark } from "../../ui/Badge";
import { Dialog } from "../../ui/Dialog";
import { ErrorNotice, Notice, Skeleton } from "../../ui/Notice";
import { LimitList } from "../limits/LimitList";
import { METRICS } from "../objectives";
import { useTrial } from "../queries";
import { gainOf, intervalInWords, raceInWords, trialName } from "./trial";
import styles from "./trials.module.css";

const ORIGINS = {
  baseline: "the baseline",
  warm_start: "an expert's first guess, or an earlier study's winner",
  sampler: "the sampler's choice",
  neighbour: "a neighbour of a leader",
  grid: "a point of the grid",
  ablation: "a step on the way from the baseline to the winner",
};

export function TrialDrawer({ trial, onClose }: { trial: TrialView; onClose: () => void }) {
  const { data, error, refetch } = useTrial(trial.id, `${trial.state}/${trial.blocks}`);
  return (
    <Dialog title={trialName(trial)} mark={trial.metrics ? <OriginMark of={trial.metrics} /> : undefined} shape="drawer" onClose={onClose}>
      <div className={styles.drawer}>
        <p>{trial.words}</p>
        {trial.detail && <Notice tone={trial.state === "failed" ? "bad" : "warn"}>{trial.detail}</Notice>}
        <TrialFacts trial={trial} />
        <LimitList checks={trial.constraints} />
        {error && <ErrorNotice error={error} onRetry={() => void refetch()} />}
        {!data && !error && <Skeleton height_px={240} label="Loading the trial's samples" />}
        {data?.id === trial.id && data.measured.map((block, position) => <Block key={position} block={block} open={position === 0} />)}
      </div>
    </Dialog>
  );
}

function TrialFacts({ trial }: { trial: TrialView }) {
  const facts = [
    ...METRICS.filter(({ name }) => trial.metrics?.[name] != null).map(
      (metric) => [metric.label, metric.format(trial.metrics?.[metric.name])] as const,
    ),
    ["Against the baseline", formatGain(gainOf(trial))] as const,
    ["95% interval of the search", intervalInWords(trial) || "—"] as const,
    ["Race", raceInWords(trial)] as const,
    ["Blocks", String(trial.blocks)] as const,
    ["Overhead of a block", formatDuration(trial.overhead_s)] as const,
    ["Tried as", ORIGINS[trial.origin ?? "baseline"]] as const,
    ["Key", trial.candidate_key] as const,
  ];
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

function Block({ block, open }: { block: BlockView; open: boolean }) {
  const throughputs = block.samples.map((sample) => METRICS[0]?.format(sample.throughput_gbps)).join(", ");
  return (
    <details className={styles.block} open={open}>
      <summary>
        <strong>
          {block.phase}, block {block.index + 1}
        </strong>
        {block.state !== "completed" && <Badge tone={block.state === "failed" ? "bad" : "warn"}>{block.state}</Badge>}
        {block.attempt > 1 && <Badge tone="warn">attempt {block.attempt}</Badge>}
        <span>{throughputs}</span>
      </summary>
      <div className={styles.blockBody}>
        {block.detail && <Notice tone="warn">{block.detail}</Notice>}
        <PhaseBar timings={block.timings} />
        {block.samples.map((sample, position) => (
          <SampleDetails key={position} sample={sample} />
        ))}
        <details>
          <summary className={styles.muted}>Read back from the gateways</summary>
          {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
          <pre className={styles.readBack} tabIndex={0}>
            {JSON.stringify(block.read_back, null, 2)}
          </pre>
        </details>
      </div>
    </details>
  );
}
