import type { GatewayView } from "../api/types";
import { fingerprintFacts, topologyInWords } from "./fingerprint";
import styles from "./TestbedsPage.module.css";

export function GatewayFacts({ name, gateway }: { name: string; gateway: GatewayView }) {
  const topology = topologyInWords(gateway.topology);
  const facts = [
    ...(topology ? [{ term: "topology", value: topology }] : []),
    ...fingerprintFacts(gateway.fingerprint),
    { term: "engines", value: gateway.engines.join(", ") },
  ];
  return (
    <section className={styles.gateway} aria-label={`Gateway ${name}`}>
      <h3>Gateway {name}</h3>
      <dl>
        {facts.map(({ term, value }) => (
          <FactRow key={term} term={term} value={value} />
        ))}
      </dl>
    </section>
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
