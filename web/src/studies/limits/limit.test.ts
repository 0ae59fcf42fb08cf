import { describe, expect, it } from "vitest";
import { checkInWords, constraintOf, LIMIT_DEFAULTS, worstOf, type ConstraintCheck } from "./limit";

const check = (value: number | null, violation: number): ConstraintCheck => ({
  constraint: { metric: "latency_p99_ms", at_most: 5, at_least: null, of_baseline: false },
  words: "p99 latency under load at most 5 ms",
  value,
  limit: 5,
  violation,
});

describe("limits of a study", () => {
  it("become constraints of the API, in its units", () => {
    expect(constraintOf(LIMIT_DEFAULTS)).toEqual({ metric: "data_plane_cpus", at_most: 1.1, of_baseline: true });
    expect(constraintOf({ metric: "loss_ratio", side: "at_most", value: "0.1", of_baseline: false })).toEqual({
      metric: "loss_ratio",
      at_most: 0.001,
      of_baseline: false,
    });
    expect(JSON.stringify(constraintOf({ ...LIMIT_DEFAULTS, value: "much" }))).toContain('"at_most":null');
  });

  it("say how far beyond a candidate is", () => {
    expect(checkInWords(check(6.2, 0.24))).toBe("6.2 of at most 5 ms, 24.0 % beyond");
    expect(checkInWords(check(4, 0))).toBe("4 of at most 5 ms, kept");
    expect(checkInWords(check(null, 0))).toBe("not measured");
    expect(worstOf([check(4, 0), check(6, 0.2), check(7, 0.4)])?.value).toBe(7);
    expect(worstOf([check(4, 0)])).toBeNull();
  });
});
