import { IconButton } from "../ui/Button";
import { chooseTheme, useTheme } from "./theme";

export function ThemeToggle() {
  const next = useTheme() === "dark" ? "light" : "dark";
  return <IconButton icon={next === "dark" ? "moon" : "sun"} label={`Use the ${next} theme`} onClick={() => chooseTheme(next)} />;
}
