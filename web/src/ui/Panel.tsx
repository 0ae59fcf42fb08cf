import { useId, type ReactNode } from "react";
import styles from "./Panel.module.css";

interface PanelProps {
  title: string;
  hint?: ReactNode;
  mark?: ReactNode;
  actions?: ReactNode;
  flush?: boolean;
  children: ReactNode;
}

/** A titled region of a page. */
export function Panel({ title, hint, mark, actions, flush = false, children }: PanelProps) {
  const id = useId();
  return (
    <section className={styles.panel} aria-labelledby={id}>
      <div className={styles.head}>
        <div>
          <div className={styles.title}>
            <h2 id={id}>{title}</h2>
            {mark}
          </div>
          {hint && <p className={styles.hint}>{hint}</p>}
        </div>
        {actions}
      </div>
      <div className={flush ? styles.flush : styles.body}>{children}</div>
    </section>
  );
}
