import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { followEvents, type StreamState } from "../../api/events";
import { studyKeys } from "../queries";

/** Events come in bursts; the page asks for the study again at most this often. */
const REFRESH_MS = 300;

/** Follows the study's events while it is `running` and refreshes what the page shows; says how the stream is. */
export function useStudyStream(id: string, running: boolean): StreamState {
  const client = useQueryClient();
  const [state, setState] = useState<StreamState>("connecting");

  useEffect(() => {
    const refresh = () =>
      Promise.all([
        client.invalidateQueries({ queryKey: studyKeys.one(id) }),
        client.invalidateQueries({ queryKey: studyKeys.trials(id) }),
      ]);
    if (!running) {
      // What the last events said is fetched once more after the stream has ended.
      void refresh();
      return;
    }
    const leaving = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stale = false;
    const refreshSoon = () => {
      stale = true;
      timer ??= setTimeout(() => {
        stale = false;
        void refresh().finally(() => {
          timer = undefined;
          if (stale && !leaving.signal.aborted) refreshSoon();
        });
      }, REFRESH_MS);
    };
    void followEvents(`/api/v1/studies/${id}/events`, { signal: leaving.signal, onMessage: refreshSoon, onState: setState });
    return () => {
      leaving.abort();
      clearTimeout(timer);
    };
  }, [client, id, running]);

  return state;
}
