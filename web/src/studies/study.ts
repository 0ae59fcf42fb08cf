import type { StudyProgress, StudyView } from "../api/types";

export function studyTitle(study: StudyView): string {
  return study.label || `Study ${study.id}`;
}

/** Share of the estimated blocks that are done, between 0 and 1. */
export function progressRatio({ blocks_done, blocks_total }: StudyProgress): number {
  return blocks_total > 0 ? Math.min(1, blocks_done / blocks_total) : 0;
}

/** From its start to its end, or until now; null before it started. */
export function studyDuration_s(study: StudyView, now_ms: number): number | null {
  if (!study.started_at) return null;
  const end_ms = study.finished_at ? new Date(study.finished_at).getTime() : now_ms;
  return Math.max(0, (end_ms - new Date(study.started_at).getTime()) / 1000);
}
