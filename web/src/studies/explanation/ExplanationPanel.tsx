import type { Explanation, StudyView } from "../../api/types";
import { OriginMark } from "../../ui/Badge";
import { ErrorNotice, Skeleton } from "../../ui/Notice";
import { Panel } from "../../ui/Panel";
import { useExplanation } from "../queries";
import { BottleneckView } from "./BottleneckView";
import { ImportanceView } from "./ImportanceView";
import { PathView } from "./PathView";
import styles from "./explanation.module.css";

/** Why the winner wins: the measured path to it, what holds both ends back, and what the search's trials say. */
export function ExplanationPanel({ study }: { study: StudyView }) {
  const { data, error, refetch } = useExplanation(study.id, `${study.state}/${study.progress.blocks_done}`);
  return (
    <Panel
      title="Why it wins"
      hint="Each change from the baseline to the winner, measured again in fresh, interleaved rounds."
      mark={<OriginMark of={study} />}
    >
      {error && !data && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {!data && !error && <Skeleton height_px={280} label="Loading the explanation" />}
      {data && <Loaded explanation={data} />}
    </Panel>
  );
}

function Loaded({ explanation }: { explanation: Explanation }) {
  const { ablation, importance, bottleneck_baseline, bottleneck_best, reference } = explanation;
  return (
    <div className={styles.stack}>
      {ablation && <PathView ablation={ablation} />}
      <section aria-labelledby="bottleneck-heading">
        <h3 id="bottleneck-heading">Bottleneck</h3>
        <div className={styles.pair}>
          <BottleneckView title="Baseline" bottleneck={bottleneck_baseline} />
          <BottleneckView title="Winner" bottleneck={bottleneck_best} />
        </div>
        {reference && <ReferenceLine reference={reference} />}
      </section>
      <ImportanceView importance={importance} />
    </div>
  );
}

function ReferenceLine({ reference }: { reference: NonNullable<Explanation["reference"]> }) {
  const rates = Object.entries(reference.aead_gbps).map(
    ([gateway, gbps]) => `gateway ${gateway} ${gbps.toFixed(1)} Gbit/s a CPU (${reference.aead_backend[gateway as "a" | "b"] ?? "unknown"})`,
  );
  const raw = reference.raw_gbps == null ? "the link without a tunnel was not measured" : `the link without a tunnel carries ${reference.raw_gbps.toFixed(1)} Gbit/s`;
  return (
    <p className={styles.muted}>
      For comparison: {raw}
      {rates.length > 0 && `; AEAD: ${rates.join(", ")}`}.{reference.detail && ` Not measured: ${reference.detail}.`}
    </p>
  );
}
