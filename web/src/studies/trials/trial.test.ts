import { describe, expect, it } from "vitest";
import type { TrialView } from "../../api/types";
import { paretoFront, runningBest, spreadOf, trialName } from "./trial";

function trial(number: number | null, throughputs: number[]): TrialView {
  const metricsOf = (throughput_gbps: number) => ({ throughput_gbps, gbit_per_cpu_s: null, simulated: true });
  const middle = throughputs[Math.floor(throughputs.length / 2)];
  return {
    id: (number ?? -1) + 2,
    study_id: "0123456789ab",
    number,
    is_baseline: number === null,
    candidate: {} as TrialView["candidate"],
    candidate_key: "0",
    origin: null,
    params: {},
    words: "",
    state: throughputs.length > 0 ? "completed" : "infeasible",
    metrics: middle === undefined ? null : metricsOf(middle),
    gain: null,
    standing: null,
    constraints: [],
    blocks: throughputs.length,
    points: [
      ...throughputs.map((value, index) => ({ phase: "search" as const, index, metrics: metricsOf(value) })),
      { phase: "verdict" as const, index: 0, metrics: metricsOf(99) },
    ],
    detail: null,
    overhead_s: null,
    started_at: "2026-11-23T08:30:00Z",
    finished_at: null,
  };
}

describe("trials", () => {
  it("counts from one, as people do", () => {
    expect([trialName({ number: null }), trialName({ number: 0 })]).toEqual(["Baseline", "Trial 1"]);
  });

  it("draws the running best without the baseline and past infeasible trials", () => {
    const trials = [trial(null, [50]), trial(0, [4]), trial(1, []), trial(2, [7]), trial(3, [5])];
    expect(runningBest(trials, "throughput_gbps").map((point) => point.value)).toEqual([4, 4, 7, 7]);
    expect(runningBest(trials, "gbit_per_cpu_s")).toEqual([]);
    const beyondALimit = { ...trial(1, [9]), state: "infeasible" as const };
    expect(runningBest([trial(0, [4]), beyondALimit], "throughput_gbps").map((point) => point.value)).toEqual([4, 4]);
  });

  it("takes the spread from the search and never from the verdict", () => {
    expect(spreadOf(trial(0, [4, 5, 4.5]), "throughput_gbps")).toEqual({ low: 4, high: 5 });
    expect(spreadOf(trial(0, [4]), "throughput_gbps")).toBeNull();
  });

  it("keeps what nothing dominates", () => {
    const item = (throughput_gbps: number, gbit_per_cpu_s: number) => ({ throughput_gbps, gbit_per_cpu_s });
    const front = paretoFront([item(9, 2), item(4, 5), item(4, 4), item(6, 4), item(5, 3)]);
    expect(front).toEqual([item(4, 5), item(6, 4), item(9, 2)]);
  });
});
