import { useMutation } from "@tanstack/react-query";
import { downloadFile } from "../../api/download";
import type { StudyView } from "../../api/types";
import { formatBytes } from "../../format/numbers";
import { Button } from "../../ui/Button";
import { ErrorNotice } from "../../ui/Notice";
import { useStudyAction } from "../queries";
import { isCancellable, isResumable } from "../states";

export function StudyActions({ study }: { study: StudyView }) {
  const action = useStudyAction(study.id);
  const download = useMutation({ mutationFn: ({ path, filename }: { path: string; filename: string }) => downloadFile(path, filename) });
  const base = `/api/v1/studies/${study.id}`;
  const error = action.error ?? download.error;

  return (
    <>
      {isCancellable(study.state) && (
        <Button kind="danger" icon="stop" disabled={action.isPending} onClick={() => action.mutate("cancel")}>
          Cancel
        </Button>
      )}
      {isResumable(study.state) && (
        <Button icon="resume" disabled={action.isPending} onClick={() => action.mutate("resume")}>
          Resume
        </Button>
      )}
      <Button icon="download" onClick={() => download.mutate({ path: `${base}/result`, filename: `result-${study.id}.json` })}>
        result.json
      </Button>
      {study.bundle && (
        <Button
          kind="primary"
          icon="download"
          title={`${study.bundle.filename}, ${formatBytes(study.bundle.size_bytes)}, SHA-256 ${study.bundle.sha256}`}
          onClick={() => download.mutate({ path: `${base}/bundle/download`, filename: study.bundle?.filename ?? "bundle.tar.gz" })}
        >
          Download bundle
        </Button>
      )}
      {error && <ErrorNotice error={error} />}
    </>
  );
}
