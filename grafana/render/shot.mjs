// node shot.mjs OUT.png 'theme=dark&from=…&to=…&var-key=…'
import { chromium } from 'playwright-core';
const [out = 'dashboard.png', query = ''] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
page.on('console', (message) => { if (message.type() === 'error') console.log('console:', message.text().slice(0, 600)); });
page.on('pageerror', (error) => console.log('page:', String(error.stack).slice(0, 900)));
await page.goto(`http://127.0.0.1:5173/?${query}`);
await page.waitForFunction(() => window.__log?.length > 0, null, { timeout: 30000 }).catch(() => console.log('no query was sent'));
await page.waitForTimeout(1500);
await page.waitForFunction(() => window.__pending === 0, null, { timeout: 60000 });
// All of it at once: what is out of sight is not drawn.
const height = await page.evaluate(() => document.documentElement.scrollHeight);
await page.setViewportSize({ width: 1440, height: height + 16 });
await page.waitForTimeout(1500);
await page.waitForFunction(() => window.__pending === 0, null, { timeout: 60000 });
await page.waitForTimeout(2500);
for (const line of await page.evaluate(() => window.__log)) {
  if (typeof line === 'string' || line.error || !line.series || process.env.VERBOSE) console.log(JSON.stringify(line));
}
await page.screenshot({ path: out });
await browser.close();
