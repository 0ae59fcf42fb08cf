import { describe, expect, it } from "vitest";
import type { Candidate, TrialView } from "../../api/types";
import { axesOf, mixColours, tunableText } from "./parallelOption";

const ANY = { tx: "", rx: "", read: "", crypto: "", write: "", process: "", napi: "" };
const BASE: Candidate = {
  engine: "wirelane",
  mode: "inline",
  lanes: 1,
  spread: "ecmp",
  threaded_napi: false,
  cpu_sets: { a: ANY, b: ANY },
  numa_policy: "local",
  mtu: 1420,
  batch_packets: 64,
  socket_buffer_bytes: 1 << 20,
  host: {},
};

const trial = (candidate: Candidate): TrialView => ({ candidate, params: {} }) as unknown as TrialView;

describe("parallel coordinates", () => {
  it("has an axis for what varies, in the order of numbers and not of text", () => {
    const { axes, fixed } = axesOf([trial({ ...BASE, lanes: 16 }), trial({ ...BASE, lanes: 2 }), trial({ ...BASE, lanes: 8 })]);
    expect(axes).toEqual([{ label: "Lanes", values: ["2", "8", "16"] }]);
    expect(fixed).toContain("MTU 1420");
  });

  it("reads a tunable by its label", () => {
    expect(tunableText("Buffers", trial(BASE))).toBe("1.00 MiB");
  });

  it("names the placement rule, and the CPU sets where there is none", () => {
    expect(tunableText("Placement", trial(BASE))).toBe("any");
    expect(tunableText("Placement", { ...trial(BASE), params: { placement: "near" } })).toBe("near");
    expect(tunableText("Placement", { ...trial(BASE), params: { placement_a: "near", placement_b: "far" } })).toBe("near / far");
  });

  it("mixes colours", () => {
    expect(mixColours("rgb(0, 0, 0)", "rgb(100, 200, 50)", 0.5)).toBe("rgb(50, 100, 25)");
  });
});
