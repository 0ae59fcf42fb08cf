import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";

const STORAGE_KEY = "wiretune.theme";
const darkPreference = window.matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function chosenTheme(): Theme | null {
  const stored = localStorage.getItem(STORAGE_KEY);
  return stored === "light" || stored === "dark" ? stored : null;
}

function currentTheme(): Theme {
  return chosenTheme() ?? (darkPreference.matches ? "dark" : "light");
}

/** Puts the person's choice, if there is one, on the document; the system's preference holds otherwise. */
export function applyTheme(): void {
  const chosen = chosenTheme();
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

export function chooseTheme(theme: Theme): void {
  localStorage.setItem(STORAGE_KEY, theme);
  applyTheme();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  darkPreference.addEventListener("change", listener);
  return () => {
    listeners.delete(listener);
    darkPreference.removeEventListener("change", listener);
  };
}

/** The theme in force, whoever decided it. */
export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, currentTheme);
}
