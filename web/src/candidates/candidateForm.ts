import type { Candidate } from "../api/types";
import { numberOf } from "../format/input";

export type Stage = "tx" | "rx" | "read" | "crypto" | "write" | "process" | "napi";
export type Architecture = "inline" | "pipelined" | "kernel" | "kernel-threaded" | "wireguard-go";

/** A candidate as typed into a form. CPU sets are cpulists ("0-3,8") by gateway and stage; empty means any CPU. */
export interface CandidateText {
  architecture: Architecture;
  lanes: string;
  spread: "ecmp" | "bond";
  crypto_workers: string;
  mtu: string;
  batch_packets: string;
  socket_buffer_mib: string;
  numa_policy: "local" | "bind" | "prefer";
  cpu_sets: Record<"a" | "b", Partial<Record<Stage, string>>>;
}

export const ARCHITECTURES: Record<Architecture, { label: string; stages: readonly Stage[] }> = {
  inline: { label: "wirelane, inline", stages: ["tx", "rx"] },
  pipelined: { label: "wirelane, pipelined", stages: ["read", "crypto", "write"] },
  kernel: { label: "kernel", stages: [] },
  "kernel-threaded": { label: "kernel, threaded NAPI", stages: ["napi"] },
  "wireguard-go": { label: "wireguard-go", stages: ["process"] },
};

/** A bond has one thread more, which reads its device. */
export function stagesOf({ architecture, spread }: Pick<CandidateText, "architecture" | "spread">): readonly Stage[] {
  const { stages } = ARCHITECTURES[architecture];
  return architecture === "inline" && spread === "bond" ? ["read", ...stages] : stages;
}

export const CANDIDATE_DEFAULTS: CandidateText = {
  architecture: "inline",
  lanes: "1",
  spread: "ecmp",
  crypto_workers: "1",
  mtu: "1420",
  batch_packets: "64",
  socket_buffer_mib: "4",
  numa_policy: "local",
  cpu_sets: { a: {}, b: {} },
};

export function candidateOf(text: CandidateText): Candidate {
  const mode = text.architecture === "inline" || text.architecture === "pipelined" ? text.architecture : null;
  const setsOf = (gateway: "a" | "b") => {
    const sets: Record<Stage, string> = { tx: "", rx: "", read: "", crypto: "", write: "", process: "", napi: "" };
    for (const stage of stagesOf(text)) sets[stage] = text.cpu_sets[gateway][stage]?.trim() ?? "";
    return sets;
  };
  return {
    engine: mode !== null ? "wirelane" : text.architecture === "wireguard-go" ? "wireguard-go" : "kernel",
    mode,
    threaded_napi: text.architecture === "kernel-threaded",
    lanes: numberOf(text.lanes),
    spread: mode !== null ? text.spread : "ecmp",
    crypto_workers: text.architecture === "pipelined" ? numberOf(text.crypto_workers) : null,
    cpu_sets: { a: setsOf("a"), b: setsOf("b") },
    numa_policy: text.numa_policy,
    mtu: numberOf(text.mtu),
    batch_packets: numberOf(text.batch_packets),
    socket_buffer_bytes: numberOf(text.socket_buffer_mib) * 1024 * 1024,
    host: {},
  };
}
