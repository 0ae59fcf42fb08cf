import { describe, expect, it } from "vitest";
import { formatBytes, formatCount, formatDuration, formatGain, formatGbps, formatPps, formatRatio } from "./numbers";

describe("numbers for people", () => {
  it("keeps three significant digits and the unit", () => {
    expect(formatGbps(9.4567)).toBe("9.46 Gbit/s");
    expect(formatGbps(123.4)).toBe("123 Gbit/s");
    expect(formatGbps(0.01234)).toBe("0.0123 Gbit/s");
    expect(formatGbps(0)).toBe("0 Gbit/s");
  });

  it("says that a value is missing instead of inventing one", () => {
    expect([formatGbps(null), formatPps(undefined), formatRatio(null), formatGain(Number.NaN)]).toEqual(["—", "—", "—", "—"]);
  });

  it("scales packets per second and bytes", () => {
    expect([formatPps(812), formatPps(45_200), formatPps(2_412_000)]).toEqual(["812 pps", "45.2 kpps", "2.41 Mpps"]);
    expect([formatBytes(512), formatBytes(65536), formatBytes(4 << 20)]).toEqual(["512 B", "64.0 KiB", "4.00 MiB"]);
  });

  it("keeps the digits of a small loss", () => {
    expect([formatRatio(0), formatRatio(0.00004), formatRatio(0.123)]).toEqual(["0.0 %", "0.0040 %", "12.3 %"]);
  });

  it("shows the sign of a gain, and none for nothing", () => {
    expect([formatGain(0.412), formatGain(-0.05), formatGain(-0.00001)]).toEqual(["+41.2 %", "−5.0 %", "0.0 %"]);
  });

  it("gives durations in the units of a clock", () => {
    expect([0, 0.0002, 0.031, 0.4, 2.25, 59.6, 61, 3725].map(formatDuration)).toEqual([
      "0.0 s",
      "< 1 ms",
      "31 ms",
      "400 ms",
      "2.3 s",
      "1 min 00 s",
      "1 min 01 s",
      "1 h 02 min",
    ]);
  });

  it("counts", () => {
    expect([formatCount(1, "lane"), formatCount(2, "lane")]).toEqual(["1 lane", "2 lanes"]);
  });
});
