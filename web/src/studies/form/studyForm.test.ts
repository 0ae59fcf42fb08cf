import { describe, expect, it } from "vitest";
import { estimatedDuration_s, studyDefaults, studyOf } from "./studyForm";

describe("the study form", () => {
  it("narrows nothing by default", () => {
    const study = studyOf(studyDefaults("demo"));
    expect(study).toMatchObject({ testbed: "demo", space: null, engines: null, trials: 12, seed: null, time_budget_s: null });
    expect(study.workloads).toEqual([{ tool: "iperf3", protocol: "tcp", direction: "forward", flows: 4, duration_s: 3, latency_probe: false, imix: false }]);
  });

  it("fixes one tunable and leaves the others", () => {
    const study = studyOf({ ...studyDefaults("demo"), lanes: "1,2", socket_buffer_mib: "0.5", modes: ["inline"] });
    expect(study.space).toEqual({
      mode: ["inline"],
      host: {},
      lanes: [1, 2],
      crypto_workers: null,
      mtu: null,
      placement: null,
      placement_per_gateway: false,
      batch_packets: null,
      socket_buffer_bytes: [524288],
      numa_policy: null,
      spread: null,
    });
  });

  it("takes limits, and brings the probe that one on latency needs", () => {
    const limit = { metric: "latency_p99_ms" as const, side: "at_most" as const, value: "5", of_baseline: false };
    const study = studyOf({ ...studyDefaults("demo"), limits: [limit], racing: false });
    expect(study).toMatchObject({ racing: false, constraints: [{ metric: "latency_p99_ms", at_most: 5, of_baseline: false }] });
    expect(study.workloads?.[0]?.latency_probe).toBe(true);
  });

  it("estimates the time as the procedure spends it", () => {
    const text = studyDefaults("demo");
    // 3 + ⌊12/5⌋ baseline blocks, 24 of the search and 30 of the playoff since racing halves both, 16 of the verdict, 20 of the path; 3 s and overhead each.
    expect(estimatedDuration_s(text)).toBe((5 + 24 + 30 + 16 + 20) * 5);
    expect(estimatedDuration_s({ ...text, trials: "many" })).toBeNull();
  });
});
