import type { StudyView } from "../../api/types";
import { Notice } from "../../ui/Notice";
import { useHosts } from "../queries";

/** Says so when samples of the verdict were taken while a host was disturbed; otherwise nothing. */
export function FitnessNotice({ study }: { study: StudyView }) {
  const { data } = useHosts(study);
  if (!data || data.fitness.unfit === 0) return null;
  return (
    <Notice tone="warn" title="Hosts were disturbed while this was measured">
      <p>{data.fitness.words} Baseline and winner are measured in turns, so that both were hit alike; the interval is wider for it.</p>
    </Notice>
  );
}
