import { useQuery } from "@tanstack/react-query";
import { answerOf, api } from "../api/client";
import type { Capability } from "../api/types";
import { PageHeader } from "../layout/PageHeader";
import { Badge, type Tone } from "../ui/Badge";
import { Button } from "../ui/Button";
import { ErrorNotice, Notice, Skeleton } from "../ui/Notice";
import { ScrollRegion } from "../ui/ScrollRegion";
import table from "../ui/Table.module.css";
import { Words } from "../ui/Words";
import styles from "./CapabilitiesPage.module.css";

const TONES: Record<Capability["state"], Tone> = { ok: "good", degraded: "warn", missing: "bad" };

export function CapabilitiesPage() {
  const { data, error, isPending, isFetching, refetch } = useQuery({
    queryKey: ["capabilities"],
    queryFn: () => answerOf(api.GET("/api/v1/capabilities")),
  });
  return (
    <>
      <PageHeader
        title="Capabilities"
        subtitle={data ? `What this machine can do. Wiretune ${data.version}.` : "What this machine can do."}
        actions={
          <Button disabled={isFetching} onClick={() => void refetch()}>
            {isFetching ? "Checking…" : "Check again"}
          </Button>
        }
      />
      {error && <ErrorNotice error={error} onRetry={() => void refetch()} />}
      {isPending && <Skeleton height_px={360} label="Checking the machine" />}
      {data && (
        <>
          {data.can_tune_netns ? (
            <Notice>Everything that a netns testbed needs is there.</Notice>
          ) : (
            <Notice tone="warn" title="A netns testbed cannot work here yet">
              <p>See what is missing below. Simulated testbeds work all the same.</p>
            </Notice>
          )}
          <CapabilityTable items={data.items} />
        </>
      )}
    </>
  );
}

function CapabilityTable({ items }: { items: readonly Capability[] }) {
  return (
    <div className={styles.frame}>
      <ScrollRegion label="Capabilities">
        <table className={table.table}>
          <thead>
            <tr>
              <th scope="col">Capability</th>
              <th scope="col">State</th>
              <th scope="col">Found</th>
              <th scope="col">What to do</th>
            </tr>
          </thead>
          <tbody>
            {items.map((item) => (
              <tr key={item.name}>
                <td className={styles.title}>
                  {item.title}
                  {item.required && <span className={styles.required}>required</span>}
                </td>
                <td>
                  <Badge tone={TONES[item.state]}>{item.state}</Badge>
                </td>
                <td>{item.detail}</td>
                <td>
                  <Words>{item.hint}</Words>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </ScrollRegion>
    </div>
  );
}
