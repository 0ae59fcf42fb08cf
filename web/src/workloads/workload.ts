import type { Workload } from "../api/types";
import { numberOf, optionalNumberOf } from "../format/input";

export type WorkloadKind = "iperf3-tcp" | "iperf3-udp" | "pktgen" | "pktgen-imix";

/** A workload as typed into a form. */
export interface WorkloadText {
  kind: WorkloadKind;
  direction: "forward" | "reverse" | "both";
  flows: string;
  packet_bytes: string;
  offered_load: string;
}

export const KIND_LABELS: Record<WorkloadKind, string> = {
  "iperf3-tcp": "iperf3 TCP",
  "iperf3-udp": "iperf3 UDP",
  pktgen: "pktgen",
  "pktgen-imix": "pktgen IMIX",
};

export const WORKLOAD_DEFAULTS: WorkloadText = { kind: "iperf3-tcp", direction: "forward", flows: "4", packet_bytes: "", offered_load: "" };

/** The workload of the API. Every sample lasts `duration_s`; `latency_probe` sends echo requests beside the load. */
export function workloadOf(text: WorkloadText, duration_s: number, latency_probe = false): Workload {
  const common = { direction: text.direction, flows: numberOf(text.flows), duration_s, latency_probe, imix: text.kind === "pktgen-imix" };
  if (text.kind === "iperf3-tcp") return { ...common, tool: "iperf3", protocol: "tcp" };
  const packet_bytes = optionalNumberOf(text.packet_bytes);
  const load = optionalNumberOf(text.offered_load);
  if (text.kind === "iperf3-udp") return { ...common, tool: "iperf3", protocol: "udp", packet_bytes, offered_load_gbps: load };
  return { ...common, tool: "pktgen", protocol: "udp", packet_bytes: common.imix ? null : packet_bytes, offered_load_pps: load === null ? null : load * 1e6 };
}

/** The same short name that the service uses: "tcp forward", "pktgen 64 B forward". */
export function workloadName({ tool, protocol, packet_bytes, imix, direction }: Workload): string {
  const size = imix ? "IMIX" : `${packet_bytes ?? "MTU"} B`;
  const kind = tool === "pktgen" ? `pktgen ${size}` : protocol;
  return `${kind} ${direction}`;
}
