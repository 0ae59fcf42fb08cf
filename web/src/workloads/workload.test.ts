import { describe, expect, it } from "vitest";
import { WORKLOAD_DEFAULTS, workloadName, workloadOf } from "./workload";

describe("workloads of a form", () => {
  it("sends only what belongs to the tool", () => {
    const typed = { ...WORKLOAD_DEFAULTS, packet_bytes: "64", offered_load: "2" };
    expect(workloadOf(typed, 3)).toEqual({ tool: "iperf3", protocol: "tcp", direction: "forward", flows: 4, duration_s: 3, latency_probe: false, imix: false });
    expect(workloadOf({ ...typed, kind: "iperf3-udp" }, 3)).toMatchObject({ packet_bytes: 64, offered_load_gbps: 2 });
    expect(workloadOf({ ...typed, kind: "pktgen" }, 3)).toMatchObject({ protocol: "udp", offered_load_pps: 2_000_000 });
  });

  it("leaves an empty load to the sender", () => {
    expect(workloadOf({ ...WORKLOAD_DEFAULTS, kind: "pktgen" }, 3)).toMatchObject({ offered_load_pps: null, packet_bytes: null });
  });

  it("names a workload as the service does", () => {
    expect(workloadName(workloadOf(WORKLOAD_DEFAULTS, 1))).toBe("tcp forward");
    expect(workloadName(workloadOf({ ...WORKLOAD_DEFAULTS, kind: "pktgen", packet_bytes: "64" }, 1))).toBe("pktgen 64 B forward");
    expect(workloadName(workloadOf({ ...WORKLOAD_DEFAULTS, kind: "pktgen-imix", packet_bytes: "64" }, 1))).toBe("pktgen IMIX forward");
  });
});
