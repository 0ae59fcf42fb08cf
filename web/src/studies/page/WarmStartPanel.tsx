import { Link } from "react-router";
import type { StudyView } from "../../api/types";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";

/** Which earlier studies the search began with, and why it refused others. */
export function WarmStartPanel({ study }: { study: StudyView }) {
  const earlier = study.warm_start?.studies ?? [];
  if (earlier.length === 0) {
    return null;
  }
  return (
    <Panel
      title="Earlier studies"
      hint="The search began with the winners of studies on hosts like these."
      mark={<OriginMark of={study} />}
    >
      <ul>
        {earlier.map((one) => (
          <li key={one.study}>
            <Link to={`/studies/${one.study}`}>{one.study}</Link>{" "}
            {one.used ? `gave ${one.candidates.length} (match ${one.match.toFixed(2)}: ${one.reason})` : `refused: ${one.reason}`}
          </li>
        ))}
      </ul>
    </Panel>
  );
}
