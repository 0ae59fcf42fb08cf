import { createParser, type EventSourceMessage } from "eventsource-parser";
import { currentToken, signOut } from "../session/session";

export type StreamState = "connecting" | "live" | "waiting";

interface FollowOptions {
  signal: AbortSignal;
  onMessage: (message: EventSourceMessage) => void;
  onState: (state: StreamState) => void;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** The service sends a comment every few seconds; a longer silence means that the connection is dead. */
const SILENCE_MS = 45_000;

/** Doubles with every failed attempt, up to a limit; a random share keeps many pages from coming back at once. */
export function retryDelayMs(attempt: number, random: () => number = Math.random): number {
  const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return delay / 2 + (delay / 2) * random();
}

function sleep(delay_ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, delay_ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/**
 * Follows a stream of Server-Sent Events until `signal` aborts. EventSource cannot send an Authorization header, so
 * this reads the stream with fetch; after a break it goes on behind the last event it saw (Last-Event-ID).
 */
export async function followEvents(url: string, { signal, onMessage, onState }: FollowOptions): Promise<void> {
  let lastEventId = "";
  let attempt = 0;
  // A reader that has left is told nothing any more.
  const tell = (state: StreamState) => {
    if (!signal.aborted) onState(state);
  };
  while (!signal.aborted) {
    tell(attempt === 0 ? "connecting" : "waiting");
    try {
      await readOnce(url, lastEventId, signal, {
        onOpen: () => tell("live"),
        onMessage: (message) => {
          attempt = 0;
          if (message.id) lastEventId = message.id;
          onMessage(message);
        },
      });
    } catch (error) {
      // Broken by the network or the service: tried again. Broken by our own abort: the loop ends.
      if (error instanceof StreamRefused) return;
    }
    tell("waiting");
    await sleep(retryDelayMs(attempt), signal);
    attempt += 1;
  }
}

/** The service answered with an error that trying again does not cure. */
class StreamRefused extends Error {}

interface ReadHandlers {
  onOpen: () => void;
  onMessage: (message: EventSourceMessage) => void;
}

async function readOnce(url: string, lastEventId: string, signal: AbortSignal, handlers: ReadHandlers): Promise<void> {
  const headers = new Headers({ Accept: "text/event-stream", Authorization: `Bearer ${currentToken() ?? ""}` });
  if (lastEventId) headers.set("Last-Event-ID", lastEventId);

  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(url, { headers, cache: "no-store", signal: AbortSignal.any([signal, silence.signal]) });
    if (response.status === 401) signOut("rejected");
    if (response.status >= 400 && response.status < 500) throw new StreamRefused(`refused with ${response.status}`);
    if (!response.ok || !response.body) throw new Error(`answered ${response.status}`);
    handlers.onOpen();
    const parser = createParser({ onEvent: handlers.onMessage });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      parser.feed(value);
    }
  } finally {
    clearTimeout(timer);
  }
}
