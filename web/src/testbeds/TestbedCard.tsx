import { Link } from "react-router";
import type { TestbedView } from "../api/types";
import { Badge, OriginMark, type Tone } from "../ui/Badge";
import { Button, buttonClass } from "../ui/Button";
import { Notice } from "../ui/Notice";
import { Words } from "../ui/Words";
import { GatewayFacts } from "./GatewayFacts";
import factStyles from "./GatewayFacts.module.css";
import { DISTRIBUTIONS } from "./distributions";
import { isBusy, isGoing } from "./queries";
import styles from "./TestbedsPage.module.css";

const TONES: Record<TestbedView["state"], Tone> = {
  provisioning: "info",
  ready: "good",
  failed: "bad",
  deleting: "warn",
  forgetting: "warn",
};

const DRIVERS: Record<TestbedView["driver"], string> = {
  netns: "two network namespaces on this machine",
  vm: "two virtual machines on this machine",
  ssh: "two hosts reached by SSH",
  compose: "two containers of docker-compose.yml",
  sim: "a simulated pair of hosts",
};

function factsOf(testbed: TestbedView): string {
  const facts = [DRIVERS[testbed.driver]];
  if (testbed.vm) facts.push(DISTRIBUTIONS[testbed.vm.distribution]);
  if (testbed.shared_machine) facts.push("both gateways share its CPUs");
  if (testbed.underlay_mtu !== null) facts.push(`underlay MTU ${testbed.underlay_mtu} B`);
  return facts.join(" · ");
}

export function TestbedCard({ testbed, onDelete }: { testbed: TestbedView; onDelete: () => void }) {
  const busy = isBusy(testbed);
  return (
    <article className={styles.card} aria-labelledby={`testbed-${testbed.name}`}>
      <div className={styles.head}>
        <h2 id={`testbed-${testbed.name}`}>{testbed.name}</h2>
        <Badge tone={TONES[testbed.state]} busy={busy}>
          {testbed.state}
        </Badge>
        <OriginMark of={testbed} />
        <span className={styles.grow} />
        {testbed.state === "ready" && (
          <Link className={buttonClass("secondary")} to={`/studies?tune=${testbed.name}`}>
            Tune
          </Link>
        )}
        <Button kind="danger" icon="trash" disabled={isGoing(testbed)} onClick={onDelete}>
          Delete<span className="visually-hidden"> {testbed.name}</span>
        </Button>
      </div>
      <p className={styles.facts}>{factsOf(testbed)}</p>
      {testbed.phase && busy && <Notice>{testbed.phase}</Notice>}
      {testbed.detail && (
        <Notice tone="bad" title={testbed.detail}>
          {testbed.hint && (
            <p>
              <Words>{testbed.hint}</Words>
            </p>
          )}
        </Notice>
      )}
      <div className={factStyles.gateways}>
        {Object.entries(testbed.gateways).map(([name, gateway]) => (
          <GatewayFacts key={name} name={name} gateway={gateway} />
        ))}
      </div>
    </article>
  );
}
