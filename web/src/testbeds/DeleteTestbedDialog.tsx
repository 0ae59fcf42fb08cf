import { useState } from "react";
import type { TestbedView } from "../api/types";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { CheckField } from "../ui/Field";
import { ErrorNotice } from "../ui/Notice";
import { useDeleteTestbed } from "./queries";
import form from "../ui/Form.module.css";
import styles from "./TestbedsPage.module.css";

export function DeleteTestbedDialog({ testbed, onClose }: { testbed: TestbedView; onClose: () => void }) {
  const remove = useDeleteTestbed();
  const [forget, setForget] = useState(false);
  return (
    <Dialog title={`Delete ${testbed.name}?`} shape="narrow" onClose={onClose}>
      <div className={form.form}>
        <p>
          {testbed.simulated ? "The simulated hosts are forgotten." : "Everything that the testbed made on its hosts is removed."} Its
          studies and their results stay.
        </p>
        {testbed.state === "failed" && !testbed.simulated && (
          <CheckField label="Its hosts are gone for good: forget it without reaching them" checked={forget} onChange={setForget} />
        )}
        {forget && (
          <div className={styles.footprint}>
            <p>What may be left there:</p>
            <ul>
              {testbed.footprint.map((line) => (
                <li key={line}>{line}</li>
              ))}
            </ul>
          </div>
        )}
        {remove.error && <ErrorNotice error={remove.error} />}
        <div className={form.buttons}>
          <Button onClick={onClose}>Keep it</Button>
          <Button
            kind="danger"
            icon="trash"
            disabled={remove.isPending}
            onClick={() => remove.mutate({ name: testbed.name, forget }, { onSuccess: onClose })}
          >
            {remove.isPending ? "Deleting…" : forget ? "Forget" : "Delete"}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
