import type { StreamState } from "../../api/events";
import type { StudyView } from "../../api/types";
import { formatCount, formatDuration } from "../../format/numbers";
import { PageHeader } from "../../layout/PageHeader";
import { Badge, OriginMark, type Tone } from "../../ui/Badge";
import { StateBadge } from "../StateBadge";
import { studyTitle } from "../study";
import { StudyActions } from "./StudyActions";

const STREAMS: Record<StreamState, { label: string; tone: Tone }> = {
  connecting: { label: "connecting…", tone: "neutral" },
  live: { label: "live", tone: "good" },
  waiting: { label: "reconnecting…", tone: "warn" },
};

interface StudyHeaderProps {
  study: StudyView;
  /** null: the study is finished, nothing streams. */
  stream: StreamState | null;
}

export function StudyHeader({ study, stream }: StudyHeaderProps) {
  const { spec } = study;
  const facts = [
    `testbed ${study.testbed} (${study.driver})`,
    spec.objective,
    formatCount(spec.trials, "trial"),
    formatCount(spec.workloads?.length ?? 1, "workload"),
    `${formatDuration(spec.sample_seconds)} samples`,
  ];
  return (
    <PageHeader
      title={studyTitle(study)}
      marks={
        <>
          <StateBadge state={study.state} />
          <OriginMark of={study} />
          {stream && <Badge tone={STREAMS[stream].tone}>{STREAMS[stream].label}</Badge>}
        </>
      }
      subtitle={facts.join(" · ")}
      actions={<StudyActions study={study} />}
    />
  );
}
