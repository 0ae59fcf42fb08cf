import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answerOf, api } from "../api/client";
import type { StudyCreate, StudyView, TrialView } from "../api/types";
import { isFinished } from "./states";

const BUSY_POLL_MS = 2000;
const IDLE_POLL_MS = 15_000;
const TRIALS_A_PAGE = 1000;

export const studyKeys = {
  all: ["studies"] as const,
  list: ["studies", "list"] as const,
  one: (id: string) => ["studies", "one", id] as const,
  trials: (id: string) => ["studies", "trials", id] as const,
  explanation: (id: string) => ["studies", "explanation", id] as const,
  hosts: (id: string) => ["studies", "hosts", id] as const,
  trial: (id: number) => ["studies", "trial", id] as const,
};

export function useStudies() {
  return useQuery({
    queryKey: studyKeys.list,
    queryFn: async () => (await answerOf(api.GET("/api/v1/studies"))).items,
    refetchInterval: ({ state }) => (state.data?.some((study) => !isFinished(study.state)) ? BUSY_POLL_MS : IDLE_POLL_MS),
  });
}

export function useStudy(id: string) {
  return useQuery({
    queryKey: studyKeys.one(id),
    queryFn: () => answerOf(api.GET("/api/v1/studies/{study_id}", { params: { path: { study_id: id } } })),
  });
}

async function allTrials(id: string): Promise<TrialView[]> {
  const trials: TrialView[] = [];
  for (;;) {
    const params = { path: { study_id: id }, query: { limit: TRIALS_A_PAGE, offset: trials.length } };
    const page = await answerOf(api.GET("/api/v1/studies/{study_id}/trials", { params }));
    trials.push(...page.items);
    if (page.items.length === 0 || trials.length >= page.total) return trials;
  }
}

export function useTrials(id: string) {
  return useQuery({ queryKey: studyKeys.trials(id), queryFn: () => allTrials(id) });
}

/** Why the winner wins; asked for once there is a verdict, and again when `revision` changes. */
export function useExplanation(id: string, revision: string) {
  return useQuery({
    queryKey: [...studyKeys.explanation(id), revision],
    queryFn: () => answerOf(api.GET("/api/v1/studies/{study_id}/explanation", { params: { path: { study_id: id } } })),
    placeholderData: keepPreviousData,
  });
}

/** The gateways of a study that has begun, and whether they were fit to measure; asked again in each state. */
export function useHosts({ id, state }: Pick<StudyView, "id" | "state">) {
  return useQuery({
    queryKey: [...studyKeys.hosts(id), state],
    queryFn: () => answerOf(api.GET("/api/v1/studies/{study_id}/hosts", { params: { path: { study_id: id } } })),
    placeholderData: keepPreviousData,
  });
}

/** One trial with its blocks; `revision` changes when there is more of it, and the old answer stays until then. */
export function useTrial(id: number, revision: string) {
  return useQuery({
    queryKey: [...studyKeys.trial(id), revision],
    queryFn: () => answerOf(api.GET("/api/v1/trials/{trial_id}", { params: { path: { trial_id: id } } })),
    placeholderData: keepPreviousData,
  });
}

export function useCreateStudy() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: StudyCreate) => answerOf(api.POST("/api/v1/studies", { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: studyKeys.list }),
  });
}

export type StudyAction = "cancel" | "resume";

export function useStudyAction(id: string) {
  const client = useQueryClient();
  const params = { path: { study_id: id } };
  return useMutation({
    mutationFn: (action: StudyAction) =>
      answerOf(
        action === "cancel"
          ? api.POST("/api/v1/studies/{study_id}/cancel", { params })
          : api.POST("/api/v1/studies/{study_id}/resume", { params }),
      ),
    onSuccess: async (study: StudyView) => {
      // An answer still on its way may be older than this one, and would hide it for good.
      await client.cancelQueries({ queryKey: studyKeys.one(id) });
      client.setQueryData(studyKeys.one(id), study);
      void client.invalidateQueries({ queryKey: studyKeys.list });
    },
  });
}
