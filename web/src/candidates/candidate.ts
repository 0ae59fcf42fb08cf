import type { Candidate } from "../api/types";
import { formatBytes } from "../format/numbers";

/** One tunable of a candidate, as text. */
export interface Setting {
  name: string;
  value: string;
}

type StageCpuSets = Candidate["cpu_sets"]["a"];

const NONE = "—";

/** The CPU sets of one gateway: "tx 0, rx 1"; "any" where the scheduler decides. */
export function cpuSetsInWords(sets: StageCpuSets): string {
  const used = Object.entries(sets).filter(([, cpus]) => cpus !== "");
  return used.length === 0 ? "any" : used.map(([stage, cpus]) => `${stage} ${cpus}`).join(", ");
}

/** Every tunable of a candidate, in a fixed order. */
export function settingsOf(candidate: Candidate): Setting[] {
  return [
    { name: "Engine", value: candidate.engine },
    { name: "Mode", value: candidate.mode ?? NONE },
    { name: "Lanes", value: String(candidate.lanes) },
    { name: "Spread", value: candidate.spread },
    { name: "Crypto workers", value: String(candidate.crypto_workers ?? NONE) },
    { name: "Threaded NAPI", value: candidate.engine === "kernel" ? (candidate.threaded_napi ? "on" : "off") : NONE },
    { name: "CPU sets, gateway a", value: cpuSetsInWords(candidate.cpu_sets.a) },
    { name: "CPU sets, gateway b", value: cpuSetsInWords(candidate.cpu_sets.b) },
    { name: "NUMA policy", value: candidate.numa_policy },
    { name: "MTU", value: `${candidate.mtu} B` },
    { name: "Batch", value: `${candidate.batch_packets} packets` },
    { name: "Socket buffers", value: formatBytes(candidate.socket_buffer_bytes) },
    { name: "Host settings", value: hostSettingsInWords(candidate.host) },
  ];
}

/** "netdev budget 600, gro on"; nothing that the candidate leaves as the hosts have it. */
export function hostSettingsInWords(host: Candidate["host"]): string {
  const made = Object.entries(host).filter(([, value]) => value !== null);
  const shown = (value: unknown): string => (typeof value === "boolean" ? (value ? "on" : "off") : value === "" ? "none" : String(value));
  return made.length === 0 ? NONE : made.map(([name, value]) => `${name.replaceAll("_", " ")} ${shown(value)}`).join(", ");
}

export interface SettingDifference extends Setting {
  baseline: string;
  changed: boolean;
}

export function differenceOf(baseline: Candidate, best: Candidate): SettingDifference[] {
  const before = settingsOf(baseline);
  return settingsOf(best).map((setting, index) => {
    const old = before[index]?.value ?? NONE;
    return { ...setting, baseline: old, changed: old !== setting.value };
  });
}
