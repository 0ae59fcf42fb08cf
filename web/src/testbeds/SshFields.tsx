import { fieldError } from "../api/problem";
import { CheckField, InputField } from "../ui/Field";
import type { SshHostText, SshText } from "./sshHosts";
import form from "../ui/Form.module.css";

interface SshFieldsProps {
  value: SshText;
  onChange: (value: SshText) => void;
  error: unknown;
}

const FIELDS: readonly { name: Exclude<keyof SshHostText, "become">; label: string; hint?: string; placeholder?: string }[] = [
  { name: "address", label: "Management address", hint: "Address or name for SSH." },
  { name: "data_address", label: "Data address", hint: "Its own on the link between both; not the one above." },
  { name: "user", label: "User" },
  { name: "port", label: "SSH port" },
  { name: "key_file", label: "Key file", hint: "On the service's machine.", placeholder: "/etc/wiretune/id_ed25519" },
  { name: "jump", label: "Jump host", placeholder: "user@bastion:22" },
  { name: "host_key", label: "Host key", hint: "Empty: pinned on first contact.", placeholder: "ssh-ed25519 AAAA…" },
  { name: "become_password", label: "Sudo password's place", hint: "Never the password.", placeholder: "file:/etc/wiretune/sudo" },
];

/** How both hosts of driver `ssh` are reached; nothing typed here is a secret. */
export function SshFields({ value, onChange, error }: SshFieldsProps) {
  return (
    <>
      {(["a", "b"] as const).map((gateway) => (
        <fieldset key={gateway} className={form.group}>
          <legend>Gateway {gateway}</legend>
          <div className={form.columns}>
            {FIELDS.filter(({ name }) => name !== "become_password" || value[gateway].become).map(({ name, label, ...more }) => (
              <InputField
                key={name}
                {...more}
                label={label}
                value={value[gateway][name]}
                error={fieldError(error, `ssh.${gateway}.${name}`)}
                onChange={(event) => onChange({ ...value, [gateway]: { ...value[gateway], [name]: event.target.value } })}
                autoComplete="off"
                spellCheck={false}
              />
            ))}
          </div>
          <CheckField
            label="Become root with sudo"
            checked={value[gateway].become}
            onChange={(become) => onChange({ ...value, [gateway]: { ...value[gateway], become } })}
          />
        </fieldset>
      ))}
    </>
  );
}
