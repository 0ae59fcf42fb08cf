import createClient from "openapi-fetch";
import { errorOfResponse } from "../api/problem";
import type { paths } from "../api/schema";

/** Whether the service accepts this token; throws where the service cannot say. */
export async function checkToken(token: string): Promise<boolean> {
  const { response, error } = await createClient<paths>().GET("/api/v1/testbeds", {
    params: { query: { limit: 1 } },
    headers: { Authorization: `Bearer ${token}` },
  });
  if (response.status === 401) return false;
  if (!response.ok) throw errorOfResponse(response.status, error);
  return true;
}
