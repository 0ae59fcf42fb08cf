import createClient, { type Middleware } from "openapi-fetch";
import { currentToken, signOut } from "../session/session";
import { errorOfResponse } from "./problem";
import type { paths } from "./schema";

const authorization: Middleware = {
  onRequest({ request }) {
    const token = currentToken();
    if (token) request.headers.set("Authorization", `Bearer ${token}`);
    return request;
  },
  onResponse({ response }) {
    if (response.status === 401) signOut("rejected");
  },
};

/** The generated client of the service that serves this page. */
export const api = createClient<paths>({ baseUrl: "" });
api.use(authorization);

interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** The body of a 2xx answer; throws ApiError for every other. */
export async function answerOf<Data>(call: Promise<Answer<Data>>): Promise<Data> {
  const { data, error, response } = await call;
  if (!response.ok || data === undefined) throw errorOfResponse(response.status, error);
  return data;
}
