import { describe, expect, it } from "vitest";
import type { Candidate } from "../api/types";
import { cpuSetsInWords, differenceOf, hostSettingsInWords } from "./candidate";

const ANY = { tx: "", rx: "", read: "", crypto: "", write: "", process: "", napi: "" };
const BASELINE: Candidate = {
  engine: "wirelane",
  mode: "pipelined",
  lanes: 1,
  spread: "ecmp",
  crypto_workers: 2,
  threaded_napi: false,
  cpu_sets: { a: ANY, b: ANY },
  numa_policy: "local",
  mtu: 1420,
  batch_packets: 64,
  socket_buffer_bytes: 4 << 20,
  host: {},
};

describe("candidates", () => {
  it("marks exactly what differs from the baseline", () => {
    const best: Candidate = { ...BASELINE, mode: "inline", crypto_workers: null, lanes: 2 };
    const changed = differenceOf(BASELINE, best).filter((setting) => setting.changed);
    expect(changed.map(({ name, baseline, value }) => [name, baseline, value])).toEqual([
      ["Mode", "pipelined", "inline"],
      ["Lanes", "1", "2"],
      ["Crypto workers", "2", "—"],
    ]);
  });

  it("names the host settings that a candidate makes", () => {
    expect(hostSettingsInWords({ netdev_budget: 600, gro: false, rps_cpus: "", channels: null })).toBe("netdev budget 600, gro off, rps cpus none");
    expect(hostSettingsInWords({})).toBe("—");
  });

  it("says where the scheduler decides", () => {
    expect(cpuSetsInWords(ANY)).toBe("any");
    expect(cpuSetsInWords({ ...ANY, tx: "0", rx: "1-2" })).toBe("tx 0, rx 1-2");
  });
});
