import type { TestbedView } from "../api/types";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { ErrorNotice } from "../ui/Notice";
import { useDeleteTestbed } from "./queries";
import styles from "./TestbedsPage.module.css";

export function DeleteTestbedDialog({ testbed, onClose }: { testbed: TestbedView; onClose: () => void }) {
  const remove = useDeleteTestbed();
  return (
    <Dialog title={`Delete ${testbed.name}?`} shape="narrow" onClose={onClose}>
      <div className={styles.form}>
        <p>
          {testbed.simulated ? "The simulated hosts are forgotten." : "Everything that the testbed made on its hosts is removed."} Its
          studies and their results stay.
        </p>
        {remove.error && <ErrorNotice error={remove.error} />}
        <div className={styles.buttons}>
          <Button onClick={onClose}>Keep it</Button>
          <Button kind="danger" icon="trash" disabled={remove.isPending} onClick={() => remove.mutate(testbed.name, { onSuccess: onClose })}>
            {remove.isPending ? "Deleting…" : "Delete"}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
