import { Link } from "react-router";
import type { StudyView } from "../../api/types";
import { formatDuration } from "../../format/numbers";
import { formatAgo, formatTimestamp } from "../../format/times";
import { useNow } from "../../format/useNow";
import { OriginMark } from "../../ui/Badge";
import { Progress } from "../../ui/Progress";
import { ScrollRegion } from "../../ui/ScrollRegion";
import table from "../../ui/Table.module.css";
import { StateBadge } from "../StateBadge";
import { isFinished } from "../states";
import { progressRatio, studyDuration_s, studyTitle } from "../study";
import { GainText } from "../verdict/GainText";
import styles from "./StudiesTable.module.css";

export function StudiesTable({ studies }: { studies: readonly StudyView[] }) {
  const now_ms = useNow(1000);
  return (
    <div className={styles.frame}>
      <ScrollRegion label="Studies">
        <table className={table.table}>
          <thead>
            <tr>
              <th scope="col">Study</th>
              <th scope="col">State</th>
              <th scope="col">Testbed</th>
              <th scope="col">Objective</th>
              <th scope="col">Gain over the baseline</th>
              <th scope="col">Started</th>
              <th scope="col" className={table.number}>
                Took
              </th>
            </tr>
          </thead>
          <tbody>
            {studies.map((study) => (
              <StudyRow key={study.id} study={study} now_ms={now_ms} />
            ))}
          </tbody>
        </table>
      </ScrollRegion>
    </div>
  );
}

function StudyRow({ study, now_ms }: { study: StudyView; now_ms: number }) {
  return (
    <tr>
      <td className={styles.name}>
        <Link to={`/studies/${study.id}`}>{studyTitle(study)}</Link>
        {study.label && <span className={styles.id}>{study.id}</span>}
      </td>
      <td className={table.nowrap}>
        <StateBadge state={study.state} /> <OriginMark of={study} />
      </td>
      <td className={table.nowrap}>
        <code>{study.testbed}</code>
      </td>
      <td className={table.nowrap}>{study.spec.objective}</td>
      <td className={styles.gain}>
        {study.verdict ? (
          <GainText gain={study.verdict} />
        ) : isFinished(study.state) ? (
          "—"
        ) : (
          <Progress ratio={progressRatio(study.progress)} label={`Progress of ${studyTitle(study)}`} />
        )}
      </td>
      <td className={table.nowrap}>
        <time dateTime={study.created_at} title={formatTimestamp(study.created_at)}>
          {formatAgo(study.created_at, now_ms)}
        </time>
      </td>
      <td className={table.number}>{formatDuration(studyDuration_s(study, now_ms))}</td>
    </tr>
  );
}
