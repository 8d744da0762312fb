// Prints TypeScript that compiles if the dashboards are what Grafana's published types say: the
// dashboard as a whole, and the options, the field configuration and the queries of each panel,
// which the type of a dashboard leaves open. See `grafana/check`.
import { readFileSync } from 'node:fs';

const PANELS = { timeseries: 'TimeSeries', stat: 'Stat', bargauge: 'BarGauge', table: 'Table' };
const composable = (folder, name) => `import * as ${name} from '@grafana/schema/dist/esm/raw/composable/${folder}/x/${name}_types.gen';`;
const literal = (name, type, value) => `export const ${name}: Json<${type}> = ${JSON.stringify(value, null, 1)};`;

const code = [
  "import type { Dashboard, AnnotationQuery, DataQuery } from '@grafana/schema';",
  ...Object.entries(PANELS).map(([type, name]) => composable(`${type}/panelcfg`, `${name}PanelCfg`)),
  // JSON has the values of enums, not the enums.
  'type Json<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T',
  '  : T extends (infer E)[] ? Json<E>[] : { [K in keyof T]: Json<T[K]> };',
  // What the data source of Prometheus adds to queries and annotations.
  "type Query = DataQuery & { expr: string; editorMode?: 'code'; legendFormat?: string; instant?: boolean; range?: boolean; format?: 'table' };",
  'type Note = AnnotationQuery & { titleFormat?: string; textFormat?: string; target?: Query };',
];
process.argv.slice(2).forEach((path, n) => {
  const { annotations, panels, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  code.push(literal(`dashboard${n}`, 'Dashboard', { ...rest, panels: panels.map(({ options, ...panel }) => panel) }));
  code.push(literal(`notes${n}`, 'Note[]', annotations.list));
  for (const panel of panels.filter(({ type }) => type !== 'row')) {
    const name = PANELS[panel.type];
    if (!name) throw new Error(`${path}: nothing is known of panels of the type ${panel.type}`);
    const id = `d${n}p${panel.id}`;
    const custom = panel.fieldConfig.defaults.custom;
    code.push(literal(`${id}options`, `Partial<${name}PanelCfg.Options>`, panel.options));
    if (custom) code.push(literal(`${id}custom`, `Partial<${name}PanelCfg.FieldConfig>`, custom));
    code.push(literal(`${id}targets`, 'Query[]', panel.targets));
  }
});
console.log(code.join('\n'));
