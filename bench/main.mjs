/** `npm run bench`: measures, prints a table, and with `--json FILE` writes what it shows. A bar that is not met is shown, and is no failure. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { GROUPS } from './results.mjs';

const HELP = `usage: npm run bench -- [--only NAME]... [--quick] [--json FILE]

  --only NAME  only this result, or those whose names begin with it
  --quick      fewer and shorter rounds: to see that it works, not for numbers
  --json FILE  writes {results: [{name, value, unit, beside: {name, value}, ratio}]}

results: ${GROUPS.flatMap(({ results }) => results.map(({ name }) => name)).join(', ')}`;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const isWanted = ({ name }) => options.only?.some((only) => name.startsWith(only)) ?? true;

const digits = (value) => (value === undefined ? '' : Number(value.toPrecision(value >= 1000 ? 4 : 3)).toLocaleString('en'));

/** The bar as it is with the yardstick's number in this run. */
const boundsOf = ({ least, most, orTwiceBeside = false }, beside) => ({ least, most: orTwiceBeside ? Math.max(most, 2 * beside) : most });

const barOf = ({ least, most }) => (least === undefined ? (most === undefined ? '' : `<= ${digits(most)}`) : `>= ${digits(least)}`);

function isMet({ least, most }, ratio) {
  if (least === undefined && most === undefined) return undefined;
  return ratio >= (least ?? -Infinity) && ratio <= (most ?? Infinity);
}

async function main() {
  const groups = GROUPS.filter(({ results }) => results.some(isWanted));
  if (groups.length === 0) throw new Error(`no result is called ${options.only.join(' or ')}`);
  const table = new Table({ head: ['result', 'value', 'unit', 'beside', '', 'ratio', 'bar', 'met'], style: { head: [], border: [] } });
  const report = [];
  for (const { measure, results } of groups) {
    process.stderr.write(`${results[0].name} ...\n`);
    const measured = [await measure(options.quick ? { rounds: 1, scale: 0.2 } : { rounds: 7, scale: 1 })].flat();
    for (const [index, result] of results.entries()) {
      const { value, beside, ratio, skipped } = measured[index] ?? measured[0];
      if (skipped !== undefined) {
        table.push([result.name, { colSpan: 7, content: `skipped: ${skipped}` }]);
        continue;
      }
      const bounds = boundsOf(result, beside);
      const met = isMet(bounds, ratio);
      const verdict = met === undefined ? '' : met ? 'yes' : 'NO';
      table.push([result.name, digits(value), result.unit, result.beside, digits(beside), digits(ratio), barOf(bounds), verdict]);
      report.push({ name: result.name, value, unit: result.unit, beside: { name: result.beside, value: beside }, ratio });
    }
  }
  console.log(table.toString());
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ results: report }, undefined, 2)}\n`);
}

if (options.help) console.log(HELP);
else await main();
