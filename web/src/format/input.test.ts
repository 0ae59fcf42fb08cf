import { describe, expect, it } from "vitest";
import { numberListOf, numberOf, optionalNumberOf, textListOf } from "./input";

describe("typed values", () => {
  it("reads numbers, and leaves nonsense for the service to name", () => {
    expect(numberOf(" 3.5 ")).toBe(3.5);
    expect(JSON.stringify({ trials: numberOf("many") })).toBe('{"trials":null}');
    expect(numberOf("")).toBeNaN();
  });

  it("tells an empty field from zero", () => {
    expect(optionalNumberOf(" ")).toBeNull();
    expect(optionalNumberOf("0")).toBe(0);
  });

  it("reads lists with commas or spaces", () => {
    expect(numberListOf("1, 2 4")).toEqual([1, 2, 4]);
    expect(numberListOf(" ")).toBeNull();
    expect(textListOf("near, packed apart,")).toEqual(["near", "packed apart"]);
    expect(textListOf(" , ")).toBeNull();
    expect(numberListOf("1,x")).toEqual([1, Number.NaN]);
  });
});
