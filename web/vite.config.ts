import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const service = process.env.WIRETUNE_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  // Fonts stay files: a data: URL would need a hole in the content security policy.
  build: { assetsInlineLimit: 0, chunkSizeWarningLimit: 900 },
  server: { port: 5173, proxy: { "/api": { target: service, changeOrigin: true } } },
});
