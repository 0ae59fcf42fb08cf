import { describe, expect, it } from "vitest";
import { distancesInWords, fingerprintFacts, sortedFacts, topologyInWords } from "./fingerprint";

const cpu = (number: number, core: number, socket: number) => ({ cpu: number, core, socket, node: socket });

describe("topology in words", () => {
  it("counts SMT siblings as one core and equal core ids of two sockets as two", () => {
    const cpus = [cpu(0, 0, 0), cpu(1, 0, 0), cpu(2, 0, 1), cpu(3, 0, 1)];
    expect(topologyInWords({ cpus })).toBe("4 CPUs on 2 cores, 2 sockets, 2 NUMA nodes");
  });

  it("says nothing where the topology says nothing", () => {
    expect(topologyInWords({})).toBe("");
    expect(topologyInWords({ cpus: "many" })).toBe("");
  });
});

describe("fingerprint facts", () => {
  it("names nested leaves by their path", () => {
    expect(fingerprintFacts({ kernel: "6.18", tools: { iperf3: "3.12" }, flags: ["avx2", "ifma"], tun_uso: true })).toEqual([
      { term: "kernel", value: "6.18" },
      { term: "tools iperf3", value: "3.12" },
      { term: "flags", value: "avx2, ifma" },
      { term: "tun uso", value: "yes" },
    ]);
  });

  it("cuts what is too deep or too long and leaves out what is empty", () => {
    const facts = fingerprintFacts({ a: { b: { c: 1 } }, long: "x".repeat(500), none: null, empty: "", list: [{ d: 1 }] });
    expect(facts).toHaveLength(1);
    expect(facts[0]?.value).toHaveLength(161);
  });
});

describe("sorted facts", () => {
  it("begins with what decides most and loses nothing", () => {
    const { first, rest } = sortedFacts({ python: "3.11", kernel: "6.12", cpu: { model: "Xeon", smt: "on", governor: [] } });
    expect(first.map((fact) => fact.term)).toEqual(["cpu model", "kernel"]);
    expect(rest.map((fact) => fact.term)).toEqual(["python", "cpu smt"]);
  });
});

describe("distances in words", () => {
  it("shows the table of several nodes, and nothing of one", () => {
    const node_distances = { "0": { "0": 10, "1": 21 }, "1": { "0": 21, "1": 10 } };
    expect(distancesInWords({ node_distances })).toBe("0: 10 21, 1: 21 10");
    expect(distancesInWords({ node_distances: { "0": { "0": 10 } } })).toBe("");
    expect(distancesInWords({ node_distances: "far" })).toBe("");
  });
});
