import type { StudyState } from "../api/types";
import { Badge } from "../ui/Badge";
import { isFinished, toneOf } from "./states";

export function StateBadge({ state }: { state: StudyState }) {
  return (
    <Badge tone={toneOf(state)} busy={!isFinished(state) && state !== "queued"}>
      {state}
    </Badge>
  );
}
