import { useMemo } from "react";
import { useParams, useSearchParams } from "react-router";
import type { StudyView, TrialView } from "../../api/types";
import { PageHeader } from "../../layout/PageHeader";
import { ErrorNotice, Notice, Skeleton } from "../../ui/Notice";
import { Words } from "../../ui/Words";
import { ObjectivePanel } from "../charts/ObjectivePanel";
import { ParallelPanel } from "../charts/ParallelPanel";
import { ParetoPanel } from "../charts/ParetoPanel";
import { ExplanationPanel } from "../explanation/ExplanationPanel";
import { useStudy, useTrials } from "../queries";
import { isFinished } from "../states";
import { isOfSearch } from "../trials/trial";
import { TrialDrawer } from "../trials/TrialDrawer";
import { TrialsPanel } from "../trials/TrialsPanel";
import { VerdictPanel } from "../verdict/VerdictPanel";
import { FitnessNotice } from "./FitnessNotice";
import { HostsPanel } from "./HostsPanel";
import { NowPanel } from "./NowPanel";
import { StudyHeader } from "./StudyHeader";
import { StudySummary } from "./StudySummary";
import styles from "./StudyPage.module.css";
import { useStudyStream } from "./useStudyStream";
import { WarmStartPanel } from "./WarmStartPanel";

const NO_TRIALS: TrialView[] = [];

/** `?trial=ID` opens the details of a trial. */
export function StudyPage() {
  const { id = "" } = useParams();
  const study = useStudy(id);
  const trials = useTrials(id);

  if (study.error && !study.data) {
    return (
      <>
        <PageHeader title={`Study ${id}`} />
        <ErrorNotice error={study.error} onRetry={() => void study.refetch()} />
      </>
    );
  }
  if (!study.data) {
    return (
      <>
        <PageHeader title="Study" />
        <Skeleton height_px={120} label="Loading the study" />
        <Skeleton height_px={360} label="Loading its trials" />
      </>
    );
  }
  return <LoadedStudy study={study.data} trials={trials.data ?? NO_TRIALS} trialsError={trials.error} fetchedAt_ms={study.dataUpdatedAt} />;
}

interface LoadedStudyProps {
  study: StudyView;
  trials: TrialView[];
  trialsError: unknown;
  fetchedAt_ms: number;
}

function LoadedStudy({ study, trials, trialsError, fetchedAt_ms }: LoadedStudyProps) {
  const running = !isFinished(study.state);
  const stream = useStudyStream(study.id, running);
  const [search, setSearch] = useSearchParams();
  const searched = useMemo(() => trials.filter(isOfSearch), [trials]);
  const selected = trials.find((trial) => String(trial.id) === search.get("trial"));
  const select = (trialId: number) => setSearch({ trial: String(trialId) }, { preventScrollReset: true });

  return (
    <>
      <StudyHeader study={study} stream={running ? stream : null} />
      {study.failure && (
        <Notice tone="bad" title={study.failure.message}>
          {study.failure.hint && (
            <p>
              <Words>{study.failure.hint}</Words>
            </p>
          )}
        </Notice>
      )}
      <StudySummary study={study} trials={searched} fetchedAt_ms={fetchedAt_ms} />
      {running && <NowPanel study={study} />}
      {study.verdict && <VerdictPanel study={study} verdict={study.verdict} />}
      {study.verdict && <FitnessNotice study={study} />}
      {study.verdict && <ExplanationPanel study={study} />}
      {trialsError !== null && <ErrorNotice error={trialsError} />}
      <div className={study.spec.objective === "pareto" ? styles.charts : styles.chart}>
        <ObjectivePanel study={study} trials={searched} onSelect={select} />
        {study.spec.objective === "pareto" && <ParetoPanel study={study} trials={searched} onSelect={select} />}
      </div>
      {trials.some((trial) => trial.metrics) && <ParallelPanel study={study} trials={searched} onSelect={select} />}
      <TrialsPanel study={study} trials={searched} onSelect={select} />
      <WarmStartPanel study={study} />
      {Object.keys(study.fingerprints).length > 0 && <HostsPanel study={study} />}
      {selected && <TrialDrawer trial={selected} onClose={() => setSearch({}, { preventScrollReset: true })} />}
    </>
  );
}
