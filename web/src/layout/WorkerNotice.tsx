import { useQuery } from "@tanstack/react-query";
import { answerOf, api } from "../api/client";
import { Notice } from "../ui/Notice";
import { Words } from "../ui/Words";

const POLL_MS = 10_000;

/** Above every page while nothing runs the jobs: all that is asked for then stays queued. */
export function WorkerNotice() {
  const { data } = useQuery({
    queryKey: ["health"],
    queryFn: () => answerOf(api.GET("/api/v1/health")),
    refetchInterval: POLL_MS,
  });
  if (!data?.hint) return null;
  return (
    <Notice tone="warn" title={data.jobs === "no_worker" ? "Nothing runs the jobs" : "Does anything run the jobs?"}>
      <p>
        <Words>{data.hint}</Words>
      </p>
    </Notice>
  );
}
