import {
  columnFilteringFeature,
  createColumnHelper,
  createFilteredRowModel,
  createSortedRowModel,
  filterFn_equalsString,
  filterFn_includesString,
  globalFilteringFeature,
  rowSortingFeature,
  sortFn_basic,
  sortFn_text,
  tableFeatures,
} from "@tanstack/react-table";
import type { TrialView } from "../../api/types";
import { cpuSetsInWords } from "../../candidates/candidate";
import { formatBytes, formatDuration, formatGain } from "../../format/numbers";
import { METRICS, type Metric } from "../objectives";
import { gainOf, intervalInWords, raceLabel, raceNote, spreadOf, trialName } from "./trial";

export const trialFeatures = tableFeatures({
  rowSortingFeature,
  columnFilteringFeature,
  globalFilteringFeature,
  sortedRowModel: createSortedRowModel(),
  filteredRowModel: createFilteredRowModel(),
  sortFns: { basic: sortFn_basic, text: sortFn_text },
  filterFns: { includesString: filterFn_includesString, equalsString: filterFn_equalsString },
});

const column = createColumnHelper<typeof trialFeatures, TrialView>();

/** Missing values sort last, whichever way. */
const NUMBER = { sortFn: "basic", sortUndefined: "last", enableGlobalFilter: false } as const;

function spreadInWords(trial: TrialView, metric: Metric): string {
  const spread = spreadOf(trial, metric.name);
  return spread ? `${metric.format(spread.low).split(" ")[0] ?? ""} to ${metric.format(spread.high).split(" ")[0] ?? ""}` : "";
}

/** The cell's second line, in small print. */
export function noteOf(trial: TrialView, columnId: string): string {
  if (columnId === "state") return raceNote(trial);
  if (columnId === "gain") return intervalInWords(trial);
  const metric = METRICS.find(({ name }) => name === columnId);
  return metric ? spreadInWords(trial, metric) : "";
}

const [THROUGHPUT, EFFICIENCY] = METRICS as readonly [Metric, Metric];

export const trialColumns = column.columns([
  column.accessor((trial) => trial.number ?? -1, {
    id: "number",
    header: "Trial",
    cell: ({ row }) => trialName(row.original),
    sortFn: "basic",
    enableGlobalFilter: false,
  }),
  column.accessor(raceLabel, { id: "state", header: "Race", sortFn: "text", filterFn: "equalsString" }),
  column.accessor((trial) => trial.metrics?.throughput_gbps, {
    ...NUMBER,
    id: THROUGHPUT.name,
    header: THROUGHPUT.label,
    cell: ({ getValue }) => THROUGHPUT.format(getValue()),
  }),
  column.accessor((trial) => trial.metrics?.gbit_per_cpu_s ?? undefined, {
    ...NUMBER,
    id: EFFICIENCY.name,
    header: EFFICIENCY.label,
    cell: ({ getValue }) => EFFICIENCY.format(getValue()),
  }),
  column.accessor((trial) => gainOf(trial) ?? undefined, {
    ...NUMBER,
    id: "gain",
    header: "Against baseline",
    cell: ({ getValue }) => formatGain(getValue()),
  }),
  column.accessor((trial) => trial.blocks, { ...NUMBER, id: "blocks", header: "Blocks" }),
  column.accessor(({ candidate }) => candidate.engine, { id: "engine", header: "Engine", sortFn: "text", filterFn: "equalsString" }),
  column.accessor(({ candidate }) => candidate.mode ?? "—", { id: "mode", header: "Mode", sortFn: "text", filterFn: "equalsString" }),
  column.accessor(({ candidate }) => candidate.lanes, { ...NUMBER, id: "lanes", header: "Lanes" }),
  column.accessor(({ candidate }) => candidate.spread, { id: "spread", header: "Spread", sortFn: "text", filterFn: "equalsString" }),
  column.accessor(({ candidate }) => candidate.crypto_workers ?? undefined, {
    ...NUMBER,
    id: "workers",
    header: "Workers",
    cell: ({ getValue }) => getValue() ?? "—",
  }),
  column.accessor(({ candidate }) => cpuSetsInWords(candidate.cpu_sets.a), { id: "cpus_a", header: "CPUs, a", sortFn: "text" }),
  column.accessor(({ candidate }) => cpuSetsInWords(candidate.cpu_sets.b), { id: "cpus_b", header: "CPUs, b", sortFn: "text" }),
  column.accessor(({ candidate }) => candidate.mtu, { ...NUMBER, id: "mtu", header: "MTU" }),
  column.accessor(({ candidate }) => candidate.batch_packets, { ...NUMBER, id: "batch", header: "Batch" }),
  column.accessor(({ candidate }) => candidate.socket_buffer_bytes, {
    ...NUMBER,
    id: "buffers",
    header: "Buffers",
    cell: ({ getValue }) => formatBytes(getValue()),
  }),
  column.accessor(({ candidate }) => candidate.numa_policy, { id: "numa", header: "NUMA", sortFn: "text" }),
  column.accessor((trial) => trial.overhead_s ?? undefined, {
    ...NUMBER,
    id: "overhead",
    header: "Overhead",
    cell: ({ getValue }) => formatDuration(getValue()),
  }),
]);

const TEXT_COLUMNS: readonly string[] = ["number", "state", "engine", "mode", "cpus_a", "cpus_b", "numa"];

export const isNumberColumn = (columnId: string): boolean => !TEXT_COLUMNS.includes(columnId);
