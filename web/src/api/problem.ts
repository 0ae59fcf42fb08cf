/** Errors of the service (RFC 9457 problem details) as one typed error, with the messages of single fields by path. */

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly hint: string,
    /** "workloads.0.duration_s" → message */
    readonly fieldErrors: ReadonlyMap<string, string>,
  ) {
    super(detail || title);
    this.name = "ApiError";
  }
}

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null;
const text = (value: unknown): string => (typeof value === "string" ? value : "");

function fieldErrorsOf(problem: Json): Map<string, string> {
  const errors = Array.isArray(problem.errors) ? problem.errors.filter(isObject) : [];
  const byPath = new Map<string, string>();
  for (const error of errors) {
    const path = text(error.location).replace(/^body\.?/, "");
    if (!byPath.has(path)) byPath.set(path, text(error.message));
  }
  return byPath;
}

/** The error of a response that was not 2xx, whatever its body turned out to be. */
export function errorOfResponse(status: number, body: unknown): ApiError {
  const problem = isObject(body) ? body : {};
  const title = text(problem.title) || `The service answered ${status}`;
  return new ApiError(status, title, text(problem.detail), text(problem.hint), fieldErrorsOf(problem));
}

/** The error's message for one field, and for anything inside it. */
export function fieldError(error: unknown, path: string): string | undefined {
  if (!(error instanceof ApiError)) return undefined;
  for (const [errorPath, message] of error.fieldErrors) {
    if (errorPath === path || errorPath.startsWith(`${path}.`)) return message;
  }
  return undefined;
}

export function describeError(error: unknown): { title: string; detail: string; hint: string } {
  if (error instanceof ApiError) return error;
  if (error instanceof TypeError) {
    return { title: "The service does not answer", detail: "", hint: "Is `wiretune serve` running? The page tries again by itself." };
  }
  return { title: "Something went wrong on this page", detail: error instanceof Error ? error.message : String(error), hint: "" };
}
