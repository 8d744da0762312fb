// Draws a dashboard with Grafana's own front end: its grid, panels, variables, units and thresholds,
// and data from a real Prometheus. The panel plugins themselves are not published, so the few lines
// that join a panel's options to Grafana's component stand here.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { from, Observable } from 'rxjs';
import {
  PanelPlugin, standardFieldConfigEditorRegistry, standardEditorsRegistry, createTheme, toDataFrame,
  FieldType, LoadingState, ThemeContext, standardTransformersRegistry, EventBusSrv,
  getFieldDisplayValues, applyNullInsertThreshold, VizOrientation, getDisplayValueAlignmentFactors,
} from '@grafana/data';
import * as runtime from '@grafana/runtime';
import {
  EmbeddedScene, SceneGridLayout, SceneGridItem, SceneGridRow, VizPanel, SceneQueryRunner,
  SceneTimeRange, SceneVariableSet, QueryVariable, VariableValueSelectors, SceneTimePicker,
  RuntimeDataSource, sceneUtils, sceneGraph,
} from '@grafana/scenes';
import { TimeSeries, BigValue, Table, BarGauge, VizRepeater, PanelContextProvider, GlobalStyles } from '@grafana/ui';
import * as i18n from '@grafana/i18n';
import pool from '../dashboards/pool.json';
import key from '../dashboards/key.json';

const page = new URLSearchParams(location.search);
const dash = page.get('dash') === 'key' ? key : pool;
const theme = createTheme({ colors: { mode: page.get('theme') ?? 'dark' } });
runtime.config.theme2 = theme;
const scrape = Number(page.get('scrape') ?? 15);
window.__log = [];
window.__pending = 0;

const process = (value) => value;
const property = (id, path = id) => ({ id, path, name: id, editor: () => null, override: () => null, process, shouldApply: () => true, settings: {}, category: ['x'] });
standardEditorsRegistry.setInit(() => ['number', 'text', 'boolean', 'select', 'multi-select', 'color', 'radio', 'slider', 'unit', 'string', 'strings', 'timezone', 'stats-picker', 'field-name', 'links', 'mappings', 'thresholds', 'fieldColor'].map((id) => ({ id, name: id, editor: () => null })));
standardFieldConfigEditorRegistry.setInit(() => ['displayName', 'unit', 'min', 'max', 'fieldMinMax', 'decimals', 'color', 'noValue', 'links', 'actions', 'mappings', 'thresholds', 'filterable'].map((id) => property(id)));
standardTransformersRegistry.setInit(() => []);

let scene;
const interpolate = (text, scoped) => sceneGraph.interpolate(scene, text, scoped, (value) => (Array.isArray(value) ? `(${value.join('|')})` : value));
const get = async (path) => {
  window.__pending += 1;
  try { return await (await fetch(`/prom/api/v1/${path}`)).json(); } finally { window.__pending -= 1; }
};
const legend = (target, metric) => (target.legendFormat && target.legendFormat !== '__auto' ? target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '') : JSON.stringify(metric));

class Prometheus extends RuntimeDataSource {
  query(request) {
    const start = request.range.from.valueOf() / 1000;
    const end = request.range.to.valueOf() / 1000;
    const ask = async (target) => {
      const step = Math.max(scrape, Math.round(request.intervalMs / 1000));
      // As Grafana has it: four scrapes at least, or the step and a scrape.
      const expr = interpolate(target.expr, request.scopedVars)
        .replaceAll('$__rate_interval', `${Math.max(4 * scrape, step + scrape)}s`)
        .replaceAll('$__interval', `${step}s`)
        .replaceAll('$__range', `${Math.round(end - start)}s`);
      const path = target.instant
        ? `query?query=${encodeURIComponent(expr)}&time=${end}`
        : `query_range?query=${encodeURIComponent(expr)}&start=${Math.floor(start / step) * step}&end=${Math.floor(end / step) * step}&step=${step}`;
      const answer = await get(path);
      window.__log.push({ expr, error: answer.error, series: answer.data?.result?.length });
      if (answer.status !== 'success') throw new Error(answer.error);
      const result = answer.data.result;
      if (target.format === 'table') {
        const labels = [...new Set(result.flatMap((one) => Object.keys(one.metric)))];
        return [toDataFrame({ refId: target.refId, fields: [
          { name: 'Time', type: FieldType.time, values: result.map((one) => one.value[0] * 1000) },
          ...labels.map((label) => ({ name: label, type: FieldType.string, values: result.map((one) => one.metric[label] ?? '') })),
          { name: 'Value', type: FieldType.number, values: result.map((one) => Number(one.value[1])) },
        ] })];
      }
      return result.map((one) => {
        const name = legend(target, one.metric);
        // The same step all over, with gaps, as Grafana's data source has it.
        const values = one.values ?? [one.value];
        return toDataFrame({ refId: target.refId, name, fields: [
          { name: 'Time', type: FieldType.time, config: { interval: step * 1000 }, values: values.map((value) => value[0] * 1000) },
          { name: 'Value', type: FieldType.number, labels: one.metric, config: { displayNameFromDS: name }, values: values.map((value) => Number(value[1])) },
        ] });
      });
    };
    const targets = request.targets.filter((target) => !target.hide);
    return from(Promise.all(targets.map(ask)).then((answers) => ({ state: LoadingState.Done, data: answers.flat() })));
  }

  async metricFindQuery(query) {
    const text = query.query?.query ?? query.query ?? query;
    const [, series, label] = /label_values\((?:(.+),\s*)?(\w+)\)/.exec(text);
    const [start, end] = [sceneGraph.getTimeRange(scene).state.value.from, sceneGraph.getTimeRange(scene).state.value.to].map((time) => time.valueOf() / 1000);
    const match = series ? `&match[]=${encodeURIComponent(interpolate(series))}` : '';
    const answer = await get(`label/${label}/values?start=${start}&end=${end}${match}`);
    return answer.data.map((value) => ({ text: value }));
  }

  testDatasource() { return Promise.resolve({ status: 'success', message: '' }); }
}

const custom = (...ids) => ({ useCustomConfig: (builder) => ids.forEach((id) => builder.addCustomEditor({ id, path: id, name: id, editor: () => null, override: () => null, process, shouldApply: () => true, defaultValue: DEFAULTS[id] })) });
const DEFAULTS = { drawStyle: 'line', lineInterpolation: 'linear', lineWidth: 1, fillOpacity: 0, gradientMode: 'none', barAlignment: 0, stacking: { mode: 'none', group: 'A' }, pointSize: 5, showPoints: 'auto', spanNulls: false, insertNulls: false, axisPlacement: 'auto', axisColorMode: 'text', axisBorderShow: false, scaleDistribution: { type: 'linear' }, axisCenteredZero: false, hideFrom: { tooltip: false, viz: false, legend: false }, thresholdsStyle: { mode: 'off' } };
const displayed = (p) => getFieldDisplayValues({ fieldConfig: p.fieldConfig, reduceOptions: { values: false, fields: '', ...p.options.reduceOptions, calcs: p.options.reduceOptions?.calcs ?? ['lastNotNull'] }, replaceVariables: p.replaceVariables, theme, data: p.data.series, sparkline: p.options.graphMode === 'area', timeZone: p.timeZone });
const repeated = (p, orientation, one) => <VizRepeater source={p.data} getValues={() => displayed(p)} renderCounter={p.renderCounter} width={p.width} height={p.height} orientation={orientation} getAlignmentFactors={getDisplayValueAlignmentFactors} renderValue={one} itemSpacing={8} />;
const nothing = (p) => <div style={{ color: theme.colors.text.secondary, display: 'flex', alignItems: 'center', justifyContent: 'center', width: p.width, height: p.height }}>{p.fieldConfig.defaults.noValue ?? 'No data'}</div>;

const plugins = {
  timeseries: new PanelPlugin((p) => (p.data.series.length === 0 ? nothing(p) :
    <PanelContextProvider value={{ eventsScope: 'x', eventBus: new EventBusSrv() }}>
      <TimeSeries frames={p.data.series.map((frame) => applyNullInsertThreshold({ frame }))} timeRange={p.timeRange} timeZone={p.timeZone} width={p.width} height={p.height} legend={{ calcs: [], ...p.options.legend }} options={p.options} />
    </PanelContextProvider>)).useFieldConfig(custom(...Object.keys(DEFAULTS), 'axisLabel', 'axisSoftMin', 'axisSoftMax', 'axisWidth', 'axisGridShow', 'lineStyle', 'lineColor', 'fillColor')),
  stat: new PanelPlugin((p) => repeated(p, p.options.orientation === 'vertical' ? VizOrientation.Vertical : VizOrientation.Horizontal === p.options.orientation ? VizOrientation.Horizontal : (p.width > p.height ? VizOrientation.Vertical : VizOrientation.Horizontal), ({ value, width, height, alignmentFactors, count }) => <BigValue value={value.display} count={count} sparkline={value.sparkline} width={width} height={height} colorMode={p.options.colorMode} graphMode={p.options.graphMode} justifyMode={p.options.justifyMode} textMode={p.options.textMode} alignmentFactors={alignmentFactors} theme={theme} />)).useFieldConfig({}),
  bargauge: new PanelPlugin((p) => repeated(p, p.options.orientation ?? VizOrientation.Horizontal, ({ value, width, height, orientation, alignmentFactors }) => <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)} text={p.options.text} width={width} height={height} orientation={orientation} displayMode={p.options.displayMode} valueDisplayMode={p.options.valueMode} namePlacement={p.options.namePlacement} alignmentFactors={alignmentFactors} showUnfilled={p.options.showUnfilled} theme={theme} itemSpacing={8} lcdCellWidth={12} />)).useFieldConfig({}),
  table: new PanelPlugin((p) => (p.data.series[0]?.length ? <Table data={p.data.series[0]} width={p.width} height={p.height} initialSortBy={p.options.sortBy} /> : nothing(p))).useFieldConfig(custom('align', 'cellOptions', 'width', 'hidden', 'hideFrom', 'filterable', 'inspect')),
};
for (const [pluginId, plugin] of Object.entries(plugins)) {
  plugin.meta = { id: pluginId, name: pluginId, info: {} };
  sceneUtils.registerRuntimePanelPlugin({ pluginId, plugin });
}
runtime.setPluginImportUtils({ importPanelPlugin: async (id) => plugins[id], getPanelPluginFromCache: (id) => plugins[id] });
sceneUtils.registerRuntimeDataSource({ dataSource: new Prometheus('prometheus', 'prom') });
runtime.setDataSourceSrv?.({ get: async () => { throw new Error('no data source'); }, getList: () => [], getInstanceSettings: () => ({ uid: 'prom', type: 'prometheus', name: 'prom', meta: { id: 'prometheus' } }), reload() {} });
runtime.setTemplateSrv?.({ replace: (text) => text, getVariables: () => [], containsTemplate: () => false, updateTimeRange() {} });
runtime.setRunRequest?.((source, request) => new Observable((seen) => {
  seen.next({ state: LoadingState.Loading, series: [], timeRange: request.range });
  return source.query(request).subscribe({
    next: (answer) => seen.next({ state: LoadingState.Done, series: answer.data, timeRange: request.range, request }),
    error: (error) => seen.next({ state: LoadingState.Error, series: [], timeRange: request.range, error: { message: String(error) }, request }),
  });
}));

const SOURCE = { uid: 'prom', type: 'prometheus' };
const place = ({ gridPos }) => ({ x: gridPos.x, y: gridPos.y, width: gridPos.w, height: gridPos.h });
const item = (panel) => {
  if (!plugins[panel.type]) window.__log.push(`no panel type ${panel.type}`);
  return new SceneGridItem({ ...place(panel), body: new VizPanel({ title: panel.title, description: panel.description, pluginId: panel.type, options: panel.options, fieldConfig: panel.fieldConfig, $data: new SceneQueryRunner({ datasource: SOURCE, queries: panel.targets, maxDataPoints: panel.maxDataPoints ?? 600, minInterval: `${scrape}s` }) }) });
};
const rows = [];
for (const panel of dash.panels) {
  if (panel.type === 'row') rows.push(new SceneGridRow({ ...place(panel), title: panel.title, isCollapsed: false, children: [] }));
  else if (rows.length === 0) rows.push(item(panel));
  else if (rows.at(-1) instanceof SceneGridRow) rows.at(-1).setState({ children: [...rows.at(-1).state.children, item(panel)] });
  else rows.push(item(panel));
}
const chosen = (name) => page.get(`var-${name}`);
scene = new EmbeddedScene({
  $timeRange: new SceneTimeRange({ from: page.get('from') ?? dash.time.from, to: page.get('to') ?? dash.time.to, timeZone: 'utc' }),
  $variables: new SceneVariableSet({ variables: dash.templating.list.filter((variable) => variable.type === 'query').map((variable) => new QueryVariable({ name: variable.name, label: variable.label, datasource: SOURCE, query: variable.query, regex: variable.regex, includeAll: variable.includeAll, allValue: variable.allValue, isMulti: variable.multi, hide: variable.hide, defaultToAll: variable.includeAll && !chosen(variable.name), refresh: variable.refresh, sort: variable.sort, ...(chosen(variable.name) ? { value: chosen(variable.name), text: chosen(variable.name) } : {}) })) }),
  controls: [new VariableValueSelectors({}), new SceneTimePicker({})],
  body: new SceneGridLayout({ children: rows }),
});
window.onerror = (message) => { window.__log.push(`error ${message}`); };
window.addEventListener('unhandledrejection', (event) => window.__log.push(`rejection ${event.reason?.stack ?? event.reason}`));

await i18n.initPluginTranslations('keypool').catch((error) => window.__log.push(`i18n ${error}`));
document.body.style.background = theme.colors.background.canvas;
createRoot(document.getElementById('root')).render(
  <MemoryRouter>
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ display: 'flex', flexDirection: 'column', padding: 12, minHeight: 600 }}>
        <h3 style={{ color: theme.colors.text.primary }}>{dash.title}</h3>
        <scene.Component model={scene} />
      </div>
    </ThemeContext.Provider>
  </MemoryRouter>,
);
