import { useSyncExternalStore } from "react";

/** Why nobody is signed in: shown on the sign-in page. */
export type SignedOutReason = "none" | "rejected" | "left";

interface Session {
  token: string | null;
  reason: SignedOutReason;
}

const STORAGE_KEY = "wiretune.token";
const listeners = new Set<() => void>();
let session: Session = { token: takeTokenFromFragment() ?? storedToken(), reason: "none" };

function storedToken(): string | null {
  return sessionStorage.getItem(STORAGE_KEY) ?? localStorage.getItem(STORAGE_KEY);
}

/** `wiretune serve` prints a link that ends in #token=…: the token must not stay in the address bar or the history. */
function takeTokenFromFragment(): string | null {
  const token = new URLSearchParams(window.location.hash.slice(1)).get("token");
  if (!token) return null;
  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  sessionStorage.setItem(STORAGE_KEY, token);
  return token;
}

function change(next: Session): void {
  session = next;
  for (const listener of listeners) listener();
}

export function signIn(token: string, keep: boolean): void {
  (keep ? localStorage : sessionStorage).setItem(STORAGE_KEY, token);
  change({ token, reason: "none" });
}

export function signOut(reason: Exclude<SignedOutReason, "none">): void {
  sessionStorage.removeItem(STORAGE_KEY);
  localStorage.removeItem(STORAGE_KEY);
  change({ token: null, reason });
}

export function currentToken(): string | null {
  return session.token;
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSession(): Session {
  return useSyncExternalStore(subscribe, () => session);
}
