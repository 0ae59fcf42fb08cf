import { describe, expect, it } from "vitest";
import { paddedRange } from "./style";

describe("paddedRange", () => {
  it("leaves air on both sides", () => {
    const range = paddedRange([4.2, 9.1]);
    expect(range?.min).toBeLessThan(4.2);
    expect(range?.max).toBeGreaterThan(9.1);
  });

  it("does not go below zero for rates, but does for gains", () => {
    expect(paddedRange([0.01, 10])?.min).toBe(0);
    expect(paddedRange([-0.02, 0.3])?.min).toBeLessThan(-0.02);
  });

  it("stays still while values arrive inside it", () => {
    expect(paddedRange([4.2, 9.1, 5, 8.8])).toEqual(paddedRange([4.2, 9.1]));
  });

  it("ends on round ticks", () => {
    expect(paddedRange([20.3, 48.9])).toEqual({ min: 10, max: 60, interval: 10 });
  });

  it("copes with one value and with none", () => {
    expect(paddedRange([3])).toBeDefined();
    expect(paddedRange([])).toBeUndefined();
  });
});
