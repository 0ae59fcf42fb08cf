import { useEffect, useState, type SubmitEvent } from "react";
import { Button } from "../ui/Button";
import { CheckField, InputField } from "../ui/Field";
import { ErrorNotice, Notice } from "../ui/Notice";
import { checkToken } from "./checkToken";
import { signIn, useSession, type SignedOutReason } from "./session";
import styles from "./SignInPage.module.css";

function ReasonNotice({ reason }: { reason: SignedOutReason }) {
  if (reason === "rejected") {
    return (
      <Notice tone="bad" title="The service refused the token">
        <p>It is wrong or has been revoked. Paste a valid one.</p>
      </Notice>
    );
  }
  return reason === "left" ? <Notice>You are signed out.</Notice> : null;
}

export function SignInPage() {
  const { reason } = useSession();
  const [token, setToken] = useState("");
  const [keep, setKeep] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const [failure, setFailure] = useState<unknown>();

  useEffect(() => {
    document.title = "Sign in · Wiretune";
  }, []);

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const text = token.trim();
    if (!text) {
      setProblem("Paste the token first.");
      return;
    }
    setBusy(true);
    setProblem(undefined);
    setFailure(undefined);
    try {
      if (await checkToken(text)) signIn(text, keep);
      else setProblem("The service does not know this token.");
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <main className={styles.page}>
      <form className={styles.card} onSubmit={(event) => void submit(event)} noValidate>
        <div className={styles.brand}>
          <img src="/favicon.svg" alt="" width={36} height={36} />
          <h1>Wiretune</h1>
        </div>
        <p className={styles.lead}>Finds the fastest safe way to run a WireGuard link on your two hosts, and proves it.</p>
        {failure !== undefined ? <ErrorNotice error={failure} /> : <ReasonNotice reason={reason} />}
        <InputField
          label="Access token"
          type="password"
          name="token"
          autoComplete="current-password"
          value={token}
          onChange={(event) => setToken(event.target.value)}
          error={problem}
          hint={
            <>
              <code>wiretune serve</code> prints a link that signs you in, and keeps the token in its data folder.
            </>
          }
        />
        <CheckField label="Stay signed in on this computer" checked={keep} onChange={setKeep} />
        <Button kind="primary" type="submit" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </Button>
      </form>
    </main>
  );
}
