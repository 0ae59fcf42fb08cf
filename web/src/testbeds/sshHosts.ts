import type { TestbedCreate } from "../api/types";
import { numberOf } from "../format/input";

type SshOptions = NonNullable<TestbedCreate["ssh"]>;
type SshHost = SshOptions["a"];

/** How a host is reached, as typed; what is left empty has its default. The service judges it. */
export type SshHostText = Record<Exclude<keyof SshHost, "become">, string> & { become: boolean };
export type SshText = Record<"a" | "b", SshHostText>;

const HOST: SshHostText = {
  address: "",
  data_address: "",
  port: "22",
  user: "root",
  key_file: "",
  jump: "",
  host_key: "",
  become: false,
  become_password: "",
};

export const SSH_DEFAULTS: SshText = { a: HOST, b: HOST };

export const sshOf = (text: SshText): SshOptions => ({ a: hostOf(text.a), b: hostOf(text.b) });

function hostOf(text: SshHostText): SshHost {
  const orNull = (value: string): string | null => (value.trim() === "" ? null : value.trim());
  return {
    address: text.address.trim(),
    data_address: text.data_address.trim(),
    port: numberOf(text.port),
    user: text.user.trim(),
    key_file: orNull(text.key_file),
    jump: orNull(text.jump),
    host_key: orNull(text.host_key),
    become: text.become,
    become_password: text.become ? orNull(text.become_password) : null,
  };
}
