import { describe, expect, it } from "vitest";
import { SSH_DEFAULTS, sshOf } from "./sshHosts";

describe("two hosts of the form", () => {
  it("sends what is left empty as null, and a password's place only where it is used", () => {
    const a = { ...SSH_DEFAULTS.a, address: " gw1.example.net ", data_address: "192.0.2.1", become_password: "env:SUDO" };
    const sent = sshOf({ a, b: { ...a, become: true } });
    expect(sent.a).toMatchObject({ address: "gw1.example.net", port: 22, user: "root", key_file: null, become_password: null });
    expect(sent.b).toMatchObject({ become: true, become_password: "env:SUDO" });
  });
});
