import { describe, expect, it } from "vitest";
import { hostOf, hostSettingDefaults, hostTuningOf, offeredSettings } from "./hostSetting";

describe("host settings of the form", () => {
  it("offers what both gateways have and the form knows", () => {
    const gateways = { a: { host_tunables: ["gro", "rps_cpus", "later"] }, b: { host_tunables: ["rps_cpus", "qdisc", "gro", "later"] } };
    expect(offeredSettings(gateways)).toEqual(["gro", "rps_cpus"]);
    expect(offeredSettings(null)).toEqual([]);
  });

  it("sends each value in its own form", () => {
    const typed = [
      { ...hostSettingDefaults("netdev_budget"), values: "300, 600" },
      { ...hostSettingDefaults("gro"), chosen: ["off"], as_it_is: false },
      { ...hostSettingDefaults("rps_cpus"), values: "none 0-1,4" },
      { ...hostSettingDefaults("qdisc"), chosen: ["fq", "pfifo"] },
    ];
    expect(hostOf(typed)).toEqual({
      netdev_budget: ["as it is", 300, 600],
      gro: [false],
      rps_cpus: ["as it is", "", "0-1,4"],
      qdisc: ["as it is", "fq", "pfifo"],
    });
  });

  it("gives a candidate one value each, and leaves it to the service to refuse others", () => {
    const typed = [
      { ...hostSettingDefaults("netdev_budget"), values: "600" },
      { ...hostSettingDefaults("netdev_max_backlog"), values: "1000, 2000" },
      { ...hostSettingDefaults("gro"), chosen: ["off"] },
      { ...hostSettingDefaults("rps_cpus"), values: "none" },
      { ...hostSettingDefaults("qdisc"), chosen: [] },
    ];
    expect(hostTuningOf(typed)).toEqual({ netdev_budget: 600, netdev_max_backlog: "1000, 2000", gro: false, rps_cpus: "", qdisc: "" });
  });
});
