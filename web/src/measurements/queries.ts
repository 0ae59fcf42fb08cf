import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { answerOf, api } from "../api/client";
import type { MeasurementCreate, MeasurementView } from "../api/types";

const BUSY_POLL_MS = 700;
const IDLE_POLL_MS = 15_000;

export type MeasurementState = MeasurementView["state"];

const BUSY: readonly MeasurementState[] = ["queued", "running", "cancelling"];
export const isBusy = (state: MeasurementState): boolean => BUSY.includes(state);

const MEASUREMENTS = ["measurements"] as const;

export function useMeasurements() {
  return useQuery({
    queryKey: [...MEASUREMENTS, "list"],
    queryFn: async () => (await answerOf(api.GET("/api/v1/measurements"))).items,
    refetchInterval: ({ state }) => (state.data?.some((measurement) => isBusy(measurement.state)) ? BUSY_POLL_MS : IDLE_POLL_MS),
  });
}

export function useMeasurement(id: string) {
  return useQuery({
    queryKey: [...MEASUREMENTS, id],
    queryFn: () => answerOf(api.GET("/api/v1/measurements/{measurement_id}", { params: { path: { measurement_id: id } } })),
    refetchInterval: ({ state }) => (state.data && isBusy(state.data.state) ? BUSY_POLL_MS : false),
  });
}

export function useCreateMeasurement() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: MeasurementCreate) => answerOf(api.POST("/api/v1/measurements", { body })),
    onSuccess: () => client.invalidateQueries({ queryKey: MEASUREMENTS }),
  });
}

export function useCancelMeasurement(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () =>
      answerOf(api.POST("/api/v1/measurements/{measurement_id}/cancel", { params: { path: { measurement_id: id } } })),
    onSuccess: () => client.invalidateQueries({ queryKey: MEASUREMENTS }),
  });
}
