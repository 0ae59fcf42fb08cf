import { describe, expect, it } from "vitest";
import { CANDIDATE_DEFAULTS, candidateOf } from "./candidateForm";

describe("the candidate form", () => {
  it("sends the stages of the chosen architecture only", () => {
    const typed = { ...CANDIDATE_DEFAULTS, cpu_sets: { a: { tx: "0", crypto: "3" }, b: {} } };
    expect(candidateOf(typed)).toMatchObject({ mode: "inline", crypto_workers: null, cpu_sets: { a: { tx: "0", crypto: "" } } });
    expect(candidateOf({ ...typed, architecture: "pipelined" })).toMatchObject({
      crypto_workers: 1,
      cpu_sets: { a: { tx: "", crypto: "3" } },
    });
  });

  it("gives the reader of a bond a CPU set in either mode, and a device a lane none", () => {
    const bond = { ...CANDIDATE_DEFAULTS, spread: "bond" as const, lanes: "2", cpu_sets: { a: { read: "1", tx: "0" }, b: {} } };
    expect(candidateOf(bond)).toMatchObject({ mode: "inline", spread: "bond", cpu_sets: { a: { read: "1", tx: "0" } } });
    expect(candidateOf({ ...bond, spread: "ecmp" })).toMatchObject({ cpu_sets: { a: { read: "", tx: "0" } } });
  });

  it("gives an engine without modes neither mode nor workers", () => {
    expect(candidateOf({ ...CANDIDATE_DEFAULTS, architecture: "wireguard-go" })).toMatchObject({
      engine: "wireguard-go",
      mode: null,
      crypto_workers: null,
    });
  });
});
