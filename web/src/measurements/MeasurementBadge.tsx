import { Badge, type Tone } from "../ui/Badge";
import { isBusy, type MeasurementState } from "./queries";

const TONES: Partial<Record<MeasurementState, Tone>> = {
  completed: "good",
  infeasible: "warn",
  cancelled: "warn",
  cancelling: "warn",
  failed: "bad",
  running: "info",
};

export function MeasurementBadge({ state }: { state: MeasurementState }) {
  return (
    <Badge tone={TONES[state] ?? "neutral"} busy={isBusy(state) && state !== "queued"}>
      {state}
    </Badge>
  );
}
