import type { StudyView } from "../../api/types";
import { GatewayFacts } from "../../testbeds/GatewayFacts";
import styles from "../../testbeds/GatewayFacts.module.css";
import { OriginMark } from "../../ui/Badge";
import { ErrorNotice, Skeleton } from "../../ui/Notice";
import { Panel } from "../../ui/Panel";
import { useHosts } from "../queries";

/** The gateways as they were when the study began. */
export function HostsPanel({ study }: { study: StudyView }) {
  const { data, error, refetch } = useHosts(study);
  return (
    <Panel
      title="Hosts"
      hint="As they were when the study began. Results with other fingerprints are not comparable with it."
      mark={<OriginMark of={study} />}
    >
      {error && !data && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {!data && !error && <Skeleton height_px={120} label="Loading the hosts" />}
      {data && (
        <>
          <p className={styles.fitness}>{data.fitness.words}</p>
          <div className={styles.gateways}>
            {Object.entries(data.gateways).map(([name, gateway]) => (
            <GatewayFacts key={name} name={name} gateway={gateway} />
          ))}
          </div>
        </>
      )}
    </Panel>
  );
}
