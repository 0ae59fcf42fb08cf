import { currentToken, signOut } from "../session/session";
import { errorOfResponse } from "./problem";

/** Saves what `path` answers as a file. A plain link could not carry the token. Throws ApiError. */
export async function downloadFile(path: string, filename: string): Promise<void> {
  const response = await fetch(path, { headers: { Authorization: `Bearer ${currentToken() ?? ""}` } });
  if (response.status === 401) signOut("rejected");
  // The body of an error may be anything; errorOfResponse copes with what is no problem document.
  if (!response.ok) throw errorOfResponse(response.status, await response.json().catch(() => undefined));
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = filename;
  link.click();
  URL.revokeObjectURL(url);
}
