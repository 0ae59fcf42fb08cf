import { Link } from "react-router";
import styles from "./Shell.module.css";

export function Brand() {
  return (
    <Link to="/studies" className={styles.brand}>
      <img src="/favicon.svg" alt="" width={24} height={24} />
      Wiretune
    </Link>
  );
}
