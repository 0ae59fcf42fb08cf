import type { StudyState } from "../api/types";
import type { Tone } from "../ui/Badge";

const FINISHED: readonly StudyState[] = ["completed", "cancelled", "failed"];
const RESUMABLE: readonly StudyState[] = ["cancelled", "failed"];

const TONES: Partial<Record<StudyState, Tone>> = {
  completed: "good",
  failed: "bad",
  cancelled: "warn",
  cancelling: "warn",
  queued: "neutral",
};

export const isFinished = (state: StudyState): boolean => FINISHED.includes(state);
export const isResumable = (state: StudyState): boolean => RESUMABLE.includes(state);
export const isCancellable = (state: StudyState): boolean => !isFinished(state) && state !== "cancelling";
export const toneOf = (state: StudyState): Tone => TONES[state] ?? "info";
