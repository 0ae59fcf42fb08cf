import type { StudyState, StudyView } from "../../api/types";
import { OriginMark } from "../../ui/Badge";
import { Panel } from "../../ui/Panel";
import { Progress } from "../../ui/Progress";
import { progressRatio } from "../study";
import { trialName } from "../trials/trial";
import styles from "./StudyPage.module.css";

const STEPS: readonly { state: StudyState; label: string }[] = [
  { state: "queued", label: "queued" },
  { state: "provisioning", label: "provision" },
  { state: "baseline", label: "baseline" },
  { state: "searching", label: "search" },
  { state: "confirming", label: "confirm" },
  { state: "explaining", label: "explain" },
  { state: "bundling", label: "bundle" },
];

const WAITING: Partial<Record<StudyState, string>> = {
  queued: "Waits for its testbed: studies of one testbed run one after the other.",
  provisioning: "Makes both gateways ready.",
  bundling: "Puts the winner and its evidence into a bundle.",
  cancelling: "Stops what runs and rolls the gateways back.",
};

/** What the lab does at this moment. */
export function NowPanel({ study }: { study: StudyView }) {
  const { running } = study.progress;
  return (
    <Panel title="Now" mark={<OriginMark of={study} />} actions={<Steps state={study.state} />}>
      <div className={styles.now}>
        <p className={styles.nowLine}>
          {running ? (
            <>
              <strong>
                {trialName(running)}, block {running.block + 1} of the {running.phase}
              </strong>
              <span>{running.message ?? running.lab_phase ?? ""}</span>
            </>
          ) : (
            <span>{WAITING[study.state] ?? "Chooses the next candidate."}</span>
          )}
        </p>
        <Progress ratio={progressRatio(study.progress)} label="Progress of the study" />
        <p className={styles.candidate}>{running?.words}</p>
      </div>
    </Panel>
  );
}

function Steps({ state }: { state: StudyState }) {
  return (
    <ol className={styles.steps} aria-label="Steps of the study">
      {STEPS.map((step) => (
        <li key={step.state} className={styles.step} aria-current={step.state === state ? "step" : undefined}>
          {step.label}
        </li>
      ))}
    </ol>
  );
}
