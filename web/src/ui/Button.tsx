import type { ButtonHTMLAttributes } from "react";
import styles from "./Button.module.css";
import { Icon, type IconName } from "./Icon";

export type ButtonKind = "primary" | "secondary" | "danger" | "quiet";

export function buttonClass(kind: ButtonKind = "secondary"): string {
  return kind === "secondary" ? (styles.button ?? "") : `${styles.button} ${styles[kind]}`;
}

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: ButtonKind;
  icon?: IconName;
}

export function Button({ kind = "secondary", icon, children, className = "", ...rest }: ButtonProps) {
  return (
    <button type="button" className={`${buttonClass(kind)} ${className}`} {...rest}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface IconButtonProps extends Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> {
  icon: IconName;
  label: string;
  kind?: ButtonKind;
}

export function IconButton({ icon, label, kind = "quiet", ...rest }: IconButtonProps) {
  return (
    <button type="button" className={`${buttonClass(kind)} ${styles.icon}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}
