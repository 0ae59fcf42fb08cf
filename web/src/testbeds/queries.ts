import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answerOf, api } from "../api/client";
import type { TestbedCreate, TestbedView } from "../api/types";

const TESTBEDS = ["testbeds"] as const;
const BUSY_POLL_MS = 1000;
const IDLE_POLL_MS = 10_000;

export const isGoing = ({ state }: TestbedView): boolean => state === "deleting" || state === "forgetting";
export const isBusy = (testbed: TestbedView): boolean => testbed.state === "provisioning" || isGoing(testbed);

/** All testbeds; asked for often while one of them changes, seldom otherwise. */
export function useTestbeds() {
  return useQuery({
    queryKey: TESTBEDS,
    queryFn: async () => (await answerOf(api.GET("/api/v1/testbeds"))).items,
    refetchInterval: ({ state }) => (state.data?.some(isBusy) ? BUSY_POLL_MS : IDLE_POLL_MS),
  });
}

export function useCreateTestbed() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: TestbedCreate) => answerOf(api.POST("/api/v1/testbeds", { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: TESTBEDS }),
  });
}

export function useDeleteTestbed() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ name, forget }: { name: string; forget: boolean }) =>
      answerOf(api.DELETE("/api/v1/testbeds/{name}", { params: { path: { name }, query: { forget } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: TESTBEDS }),
  });
}
