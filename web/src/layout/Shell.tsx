import { useEffect, useRef } from "react";
import { NavLink, Outlet, useLocation } from "react-router";
import { signOut } from "../session/session";
import { ThemeToggle } from "../theme/ThemeToggle";
import { IconButton } from "../ui/Button";
import { Brand } from "./Brand";
import { WorkerNotice } from "./WorkerNotice";
import styles from "./Shell.module.css";

const PAGES = [
  { to: "/studies", label: "Studies" },
  { to: "/testbeds", label: "Testbeds" },
  { to: "/measurements", label: "Measurements" },
  { to: "/capabilities", label: "Capabilities" },
] as const;

/** The frame of every page: skip link, navigation, and the focus moved to the new page after a navigation. */
export function Shell() {
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const previous = useRef(pathname);

  useEffect(() => {
    if (previous.current === pathname) return;
    previous.current = pathname;
    window.scrollTo(0, 0);
    main.current?.focus();
  }, [pathname]);

  return (
    <>
      <a className={styles.skip} href="#content">
        Skip to content
      </a>
      <header className={styles.bar}>
        <div className={styles.inner}>
          <Brand />
          <nav className={styles.nav} aria-label="Pages">
            {PAGES.map(({ to, label }) => (
              <NavLink key={to} to={to}>
                {label}
              </NavLink>
            ))}
          </nav>
          <div className={styles.tools}>
            <ThemeToggle />
            <IconButton icon="signOut" label="Sign out" onClick={() => signOut("left")} />
          </div>
        </div>
      </header>
      <main ref={main} id="content" tabIndex={-1} className={styles.main}>
        <WorkerNotice />
        <Outlet />
      </main>
    </>
  );
}
