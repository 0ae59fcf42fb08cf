import { describe, expect, it } from "vitest";
import { ApiError, describeError, errorOfResponse, fieldError } from "./problem";

const REJECTED = {
  type: "urn:wiretune:invalid",
  title: "Unprocessable Entity",
  status: 422,
  detail: "body.trials: Input should be greater than or equal to 1",
  instance: "/api/v1/studies",
  errors: [
    { location: "body.trials", message: "Input should be greater than or equal to 1", kind: "greater_than_equal" },
    { location: "body.space.lanes.0", message: "Input should be less than or equal to 64", kind: "less_than_equal" },
  ],
};

describe("errors of the service", () => {
  it("finds the message of a field, and of what is inside it", () => {
    const error = errorOfResponse(422, REJECTED);
    expect(fieldError(error, "trials")).toBe("Input should be greater than or equal to 1");
    expect(fieldError(error, "space.lanes")).toBe("Input should be less than or equal to 64");
    expect(fieldError(error, "space.lane")).toBeUndefined();
    expect(fieldError(new Error("x"), "trials")).toBeUndefined();
  });

  it("keeps detail and hint", () => {
    const error = errorOfResponse(409, { title: "Conflict", detail: "busy", hint: "wait" });
    expect(describeError(error)).toMatchObject({ title: "Conflict", detail: "busy", hint: "wait" });
  });

  it("copes with a body that is no problem document", () => {
    for (const body of [undefined, null, "<html>", 7, { errors: [null, "x"] }]) {
      expect(errorOfResponse(502, body)).toBeInstanceOf(ApiError);
      expect(errorOfResponse(502, body).title).toBe("The service answered 502");
    }
  });
});
