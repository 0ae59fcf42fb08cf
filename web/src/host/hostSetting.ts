import type { Candidate, StudyCreate } from "../api/types";
import { numberOf } from "../format/input";

export type HostSettingName = keyof Candidate["host"];
type HostChoices = NonNullable<StudyCreate["space"]>["host"];
type HostChoice = HostChoices[string][number];

/** A host setting with its values to search, or with the one to make, as typed into a form: `values` for numbers and CPU sets, `chosen` of a few words. */
export interface HostSettingText {
  name: HostSettingName;
  values: string;
  chosen: string[];
  as_it_is: boolean;
}

interface HostSettingKind {
  label: string;
  values: "numbers" | "cpu sets" | readonly string[];
  unit?: string;
  placeholder?: string;
}

const SWITCH = ["on", "off"] as const;
const AS_IT_IS = "as it is";
/** As candidates in words say it; RPS is turned off by an empty set. */
const NO_CPU = "none";

export const HOST_SETTINGS: Record<HostSettingName, HostSettingKind> = {
  socket_buffer_max_bytes: { label: "Largest socket buffer", values: "numbers", unit: "B", placeholder: "4194304, 16777216" },
  netdev_budget: { label: "Softirq budget", values: "numbers", unit: "packets", placeholder: "300, 600" },
  netdev_budget_us: { label: "Softirq time", values: "numbers", unit: "µs", placeholder: "2000, 8000" },
  netdev_max_backlog: { label: "Backlog of a CPU", values: "numbers", unit: "packets", placeholder: "1000, 10000" },
  busy_poll_us: { label: "Busy polling", values: "numbers", unit: "µs", placeholder: "0, 50" },
  busy_read_us: { label: "Busy reading", values: "numbers", unit: "µs", placeholder: "0, 50" },
  irq_cpus: { label: "Interrupts on CPUs", values: "cpu sets", placeholder: "0-3 4-7" },
  rps_cpus: { label: "RPS on CPUs", values: "cpu sets", placeholder: "none 0-3" },
  xps_cpus: { label: "XPS of CPUs", values: "cpu sets", placeholder: "0-3 0-7" },
  channels: { label: "Queue pairs", values: "numbers", placeholder: "2, 4, 8" },
  udp_rss_ports: { label: "UDP ports in the RSS hash", values: SWITCH },
  ring_packets: { label: "Rings", values: "numbers", unit: "packets", placeholder: "512, 4096" },
  coalesce_us: { label: "Interrupt delay", values: "numbers", unit: "µs", placeholder: "0, 8, 50" },
  adaptive_coalescing: { label: "Adaptive interrupt delay", values: SWITCH },
  gro: { label: "GRO", values: SWITCH },
  tso: { label: "TSO", values: SWITCH },
  gso: { label: "GSO", values: SWITCH },
  udp_segmentation: { label: "UDP segmentation", values: SWITCH },
  udp_gro_forwarding: { label: "GRO of forwarded UDP", values: SWITCH },
  qdisc: { label: "Queueing discipline", values: ["fq", "fq_codel", "pfifo_fast", "pfifo"] },
  governor: { label: "CPU governor", values: ["performance", "powersave", "schedutil", "ondemand", "conservative"] },
  underlay_mtu: { label: "MTU of the underlay", values: "numbers", unit: "B", placeholder: "1500, 9000" },
};

const isKnown = (name: string): name is HostSettingName => name in HOST_SETTINGS;

/** What both gateways offer, by label. */
export function offeredSettings(gateways: Record<string, { host_tunables: readonly string[] }> | null | undefined): HostSettingName[] {
  const [first, ...others] = Object.values(gateways ?? {}).map(({ host_tunables }) => host_tunables);
  const common = (first ?? []).filter((name) => others.every((names) => names.includes(name)));
  return common.filter(isKnown).sort((one, other) => HOST_SETTINGS[one].label.localeCompare(HOST_SETTINGS[other].label));
}

export const hostSettingDefaults = (name: HostSettingName): HostSettingText => ({ name, values: "", chosen: [], as_it_is: true });

export function hostOf(settings: readonly HostSettingText[]): HostChoices {
  return Object.fromEntries(settings.map((setting) => [setting.name, [...(setting.as_it_is ? [AS_IT_IS] : []), ...valuesOf(setting)]]));
}

/** Of each setting the one value that a candidate makes; what is no such value goes as it is, as above. */
export function hostTuningOf(settings: readonly HostSettingText[]): Candidate["host"] {
  return Object.fromEntries(
    settings.map((setting) => {
      const values = valuesOf(setting);
      return [setting.name, values.length === 1 ? values[0] : setting.values];
    }),
  );
}

function valuesOf({ name, values, chosen }: HostSettingText): HostChoice[] {
  const kind = HOST_SETTINGS[name].values;
  if (kind === SWITCH) return chosen.map((word) => word === "on");
  // A word that is no number goes as it is: the service then says what is wrong with it.
  if (kind === "numbers") return wordsOf(values, /[\s,]+/).map((word) => (Number.isNaN(numberOf(word)) ? word : numberOf(word)));
  if (kind === "cpu sets") return wordsOf(values, /[\s;]+/).map((set) => (set === NO_CPU ? "" : set));
  return chosen;
}

const wordsOf = (text: string, between: RegExp): string[] => text.split(between).filter((word) => word !== "");
