import { describe, expect, it } from "vitest";
import { commandLine } from "./commandLine";

describe("commandLine", () => {
  it("leaves plain words alone and quotes the others", () => {
    expect(commandLine(["ip", "netns", "exec", "wt-demo-a", "iperf3", "-c", "198.19.2.1"])).toBe(
      "ip netns exec wt-demo-a iperf3 -c 198.19.2.1",
    );
    expect(commandLine(["echo", "it's $HOME", ""])).toBe(`echo 'it'\\''s $HOME' ''`);
  });
});
