/** What a gateway said of itself, as lines for people. It is untrusted JSON: nothing about its shape is taken for granted. */

export interface Fact {
  term: string;
  value: string;
}

const DEEPEST = 2;
const LONGEST_VALUE = 160;
/** What decides most and is shown at once; the rest can be unfolded. */
const FIRST = ["cpu model", "nic model", "nic driver", "nic firmware", "kernel", "distribution"];

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

const distinct = (cpus: readonly Json[], ...keys: string[]): number =>
  new Set(cpus.map((cpu) => keys.map((key) => JSON.stringify(cpu[key] ?? 0)).join("/"))).size;

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** "8 CPUs on 4 cores, 2 sockets, 2 NUMA nodes"; empty where the topology does not say. */
export function topologyInWords(topology: Json): string {
  const cpus = Array.isArray(topology.cpus) ? topology.cpus.filter(isObject) : [];
  if (cpus.length === 0) return "";
  const cores = distinct(cpus, "socket", "core");
  const where = [counted(distinct(cpus, "socket"), "socket"), counted(distinct(cpus, "node"), "NUMA node")];
  return [`${counted(cpus.length, "CPU")} on ${counted(cores, "core")}`, ...where].join(", ");
}

/** "0: 10 21, 1: 21 10", the distance of each NUMA node to each; empty where there is one node or none is said. */
export function distancesInWords(topology: Json): string {
  const rows = isObject(topology.node_distances) ? Object.entries(topology.node_distances) : [];
  if (rows.length < 2) return "";
  return rows.map(([node, row]) => `${node}: ${isObject(row) ? Object.values(row).map(String).join(" ") : ""}`).join(", ");
}

function valueInWords(value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  const text = Array.isArray(value) ? value.map(String).join(", ") : String(value);
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

const isEmpty = (value: unknown): boolean => value === null || value === "" || (Array.isArray(value) && value.length === 0);

const isLeaf = (value: unknown): boolean =>
  !isEmpty(value) && (Array.isArray(value) ? value.every((item) => typeof item !== "object") : !isObject(value));

/** The leaves of a fingerprint with their path as the term: {tools: {iperf3: "3.12"}} → "tools iperf3", "3.12". */
export function fingerprintFacts(fingerprint: Json, path: readonly string[] = []): Fact[] {
  return Object.entries(fingerprint).flatMap(([key, value]) => {
    const here = [...path, key.replaceAll("_", " ")];
    if (isObject(value)) return here.length >= DEEPEST ? [] : fingerprintFacts(value, here);
    return isLeaf(value) ? [{ term: here.join(" "), value: valueInWords(value) }] : [];
  });
}

/** The few facts to begin with, and all others. */
export function sortedFacts(fingerprint: Json): { first: Fact[]; rest: Fact[] } {
  const facts = fingerprintFacts(fingerprint);
  const first = FIRST.flatMap((term) => facts.filter((fact) => fact.term === term));
  return { first, rest: facts.filter((fact) => !FIRST.includes(fact.term)) };
}
