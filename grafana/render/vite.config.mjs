import { defineConfig } from 'vite';
import { fileURLToPath } from 'node:url';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
const prometheus = process.env.PROMETHEUS ?? 'http://127.0.0.1:9090';
const proxy = { '/prom': { target: prometheus, rewrite: (path) => path.replace(/^\/prom/, '') } };

export default defineConfig({
  resolve: {
    alias: {
      'react-custom-scrollbars-2': here('./scrollbars.js'),
      'react-router-dom-v5-compat': 'react-router-dom',
    },
  },
  define: { 'process.env.NODE_ENV': '"development"', 'process.env': '{}', global: 'globalThis' },
  preview: { host: '127.0.0.1', port: 5173, proxy },
  build: { minify: false, chunkSizeWarningLimit: 100000 },
});
