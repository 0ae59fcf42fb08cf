import type { StudyCreate } from "../../api/types";
import { numberListOf, numberOf, optionalNumberOf, textListOf } from "../../format/input";
import { WORKLOAD_DEFAULTS, workloadOf, type WorkloadText } from "../../workloads/workload";
import { hostOf, type HostSettingText } from "../../host/hostSetting";
import { constraintOf, limitsLatency, type LimitText } from "../limits/limit";
import type { ObjectiveName } from "../objectives";

export type Engine = NonNullable<StudyCreate["engines"]>[number];
type Space = NonNullable<StudyCreate["space"]>;
type Mode = NonNullable<Space["mode"]>[number];
type Spread = NonNullable<Space["spread"]>[number];
type NumaPolicy = NonNullable<Space["numa_policy"]>[number];

/** A study as typed into the form. Lists are text with commas; an empty one does not narrow the space. */
export interface StudyText {
  testbed: string;
  label: string;
  objective: ObjectiveName;
  engines: Engine[];
  workloads: WorkloadText[];
  limits: LimitText[];
  racing: boolean;
  trials: string;
  sample_seconds: string;
  repeats: string;
  finalists: string;
  playoff_rounds: string;
  verdict_rounds: string;
  explain_rounds: string;
  time_budget_min: string;
  sampler: "tpe" | "random";
  seed: string;
  modes: Mode[];
  lanes: string;
  crypto_workers: string;
  mtu: string;
  placement: string;
  placement_per_gateway: boolean;
  batch_packets: string;
  socket_buffer_mib: string;
  numa_policies: NumaPolicy[];
  spreads: Spread[];
  host: HostSettingText[];
}

export function studyDefaults(testbed: string): StudyText {
  return {
    testbed,
    label: "",
    objective: "throughput",
    engines: [],
    workloads: [WORKLOAD_DEFAULTS],
    limits: [],
    racing: true,
    trials: "12",
    sample_seconds: "3",
    repeats: "4",
    finalists: "5",
    playoff_rounds: "10",
    verdict_rounds: "8",
    explain_rounds: "4",
    time_budget_min: "",
    sampler: "tpe",
    seed: "",
    modes: [],
    lanes: "",
    crypto_workers: "",
    mtu: "",
    placement: "",
    placement_per_gateway: false,
    batch_packets: "",
    socket_buffer_mib: "",
    numa_policies: [],
    spreads: [],
    host: [],
  };
}

const narrowedTo = <Option extends string>(chosen: readonly Option[]): Option[] | null => (chosen.length === 0 ? null : [...chosen]);

function spaceOf(text: StudyText): Space | null {
  const buffers = numberListOf(text.socket_buffer_mib);
  const narrowed = {
    mode: narrowedTo(text.modes),
    lanes: numberListOf(text.lanes),
    crypto_workers: numberListOf(text.crypto_workers),
    mtu: numberListOf(text.mtu),
    placement: textListOf(text.placement),
    batch_packets: numberListOf(text.batch_packets),
    socket_buffer_bytes: buffers ? buffers.map((mib) => mib * 1024 * 1024) : null,
    numa_policy: narrowedTo(text.numa_policies),
    spread: narrowedTo(text.spreads),
  };
  const { placement_per_gateway, host } = text;
  const asGenerated = Object.values(narrowed).every((values) => values === null) && !placement_per_gateway && host.length === 0;
  return asGenerated ? null : { ...narrowed, placement_per_gateway, host: hostOf(host) };
}

export function studyOf(text: StudyText): StudyCreate {
  const sample_seconds = numberOf(text.sample_seconds);
  const probed = text.objective.endsWith("latency") || limitsLatency(text.limits);
  const budget_min = optionalNumberOf(text.time_budget_min);
  return {
    testbed: text.testbed,
    label: text.label.trim(),
    objective: text.objective,
    engines: narrowedTo(text.engines),
    space: spaceOf(text),
    workloads: text.workloads.map((workload) => workloadOf(workload, sample_seconds, probed)),
    trials: numberOf(text.trials),
    sample_seconds,
    constraints: text.limits.map(constraintOf),
    racing: text.racing,
    warm_start: true,
    stop_when_unlikely: true,
    repeats: numberOf(text.repeats),
    finalists: numberOf(text.finalists),
    playoff_rounds: numberOf(text.playoff_rounds),
    verdict_rounds: numberOf(text.verdict_rounds),
    explain_rounds: numberOf(text.explain_rounds),
    time_budget_s: budget_min === null ? null : budget_min * 60,
    sampler: text.sampler,
    seed: optionalNumberOf(text.seed),
  };
}

const BASELINE_BLOCKS = 3;
const BASELINE_EVERY_TRIALS = 5;
/** Racing ends about half of the blocks that it may spend. */
const RACED_RATIO = 0.5;
/** Of the ablation path at most, baseline and winner counted. */
const PATH_CANDIDATES = 5;
/** Applying, reading back and collecting, a block; measured on the netns testbed. */
const OVERHEAD_S = 2;

/** About how long the study takes; null while a number in it is not one. */
export function estimatedDuration_s(text: StudyText): number | null {
  const trials = numberOf(text.trials);
  const raced = text.racing ? RACED_RATIO : 1;
  const search = BASELINE_BLOCKS + Math.floor(trials / BASELINE_EVERY_TRIALS) + trials * numberOf(text.repeats) * raced;
  const playoff = numberOf(text.playoff_rounds) * raced * (numberOf(text.finalists) + 1);
  const confirm = playoff + numberOf(text.verdict_rounds) * 2;
  const explain = numberOf(text.explain_rounds) * PATH_CANDIDATES;
  const block_s = text.workloads.length * numberOf(text.sample_seconds) + OVERHEAD_S;
  const total_s = (search + confirm + explain) * block_s;
  return Number.isFinite(total_s) && total_s > 0 ? total_s : null;
}
