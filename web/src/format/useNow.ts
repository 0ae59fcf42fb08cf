import { useEffect, useState } from "react";

/** The wall clock in milliseconds, read again every `interval_ms`. */
export function useNow(interval_ms: number): number {
  const [now_ms, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), interval_ms);
    return () => clearInterval(timer);
  }, [interval_ms]);
  return now_ms;
}
