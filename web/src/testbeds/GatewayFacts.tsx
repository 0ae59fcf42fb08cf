import type { GatewayView } from "../api/types";
import { distancesInWords, sortedFacts, topologyInWords, type Fact } from "./fingerprint";
import styles from "./GatewayFacts.module.css";

/** What one gateway is: a few lines, the rest folded away, and the hash that goes with every result. */
export function GatewayFacts({ name, gateway }: { name: string; gateway: GatewayView }) {
  const topology = topologyInWords(gateway.topology);
  const distances = distancesInWords(gateway.topology);
  const { first, rest } = sortedFacts(gateway.fingerprint);
  const shown = [
    ...(topology ? [{ term: "topology", value: topology }] : []),
    ...first,
    { term: "engines", value: gateway.engines.join(", ") },
    { term: "fingerprint", value: gateway.fingerprint_hash },
  ];
  const folded = [...(distances ? [{ term: "NUMA distances", value: distances }] : []), ...rest];
  return (
    <section className={styles.gateway} aria-label={`Gateway ${name}`}>
      <h3>Gateway {name}</h3>
      <FactList facts={shown} />
      {gateway.notices.length > 0 && (
        <ul className={styles.notices} aria-label={`May disturb measurements on gateway ${name}`}>
          {gateway.notices.map((notice) => (
            <li key={notice}>{notice}</li>
          ))}
        </ul>
      )}
      {folded.length > 0 && (
        <details>
          <summary>
            All facts<span className="visually-hidden"> of gateway {name}</span>
          </summary>
          <FactList facts={folded} />
          {gateway.host_tunables.length > 0 && <p>Settings that a study may search here: {gateway.host_tunables.join(", ")}.</p>}
          {gateway.proposals.length > 0 && <p>Proposed, needs a reboot: {gateway.proposals.join("; ")}.</p>}
        </details>
      )}
    </section>
  );
}

function FactList({ facts }: { facts: readonly Fact[] }) {
  return (
    <dl>
      {facts.map(({ term, value }) => (
        <FactRow key={term} term={term} value={value} />
      ))}
    </dl>
  );
}

function FactRow({ term, value }: { term: string; value: string }) {
  return (
    <>
      <dt>{term}</dt>
      <dd>{value}</dd>
    </>
  );
}
