import { useEffect, type ReactNode } from "react";
import styles from "./Shell.module.css";

interface PageHeaderProps {
  title: string;
  marks?: ReactNode;
  subtitle?: ReactNode;
  actions?: ReactNode;
}

export function PageHeader({ title, marks, subtitle, actions }: PageHeaderProps) {
  useEffect(() => {
    document.title = `${title} · Wiretune`;
  }, [title]);

  return (
    <div className={styles.head}>
      <div className={styles.titles}>
        <div className={styles.title}>
          <h1>{title}</h1>
          {marks}
        </div>
        {subtitle && <p className={styles.subtitle}>{subtitle}</p>}
      </div>
      {actions && <div className={styles.actions}>{actions}</div>}
    </div>
  );
}
