/** Vitest's side of the table: tells the machine of each row, which is a file of tests, as it begins and ends. */
import type { Reporter, TestModule } from 'vitest/node';
import { tell } from './events.js';
import { compiled, guest, type TestRow } from './guest.js';

const indexOf = (module: TestModule): number => guest.rows.findIndex((row) => 'tests' in row && compiled(row.tests) === module.relativeModuleId);

export default class GuestReporter implements Reporter {
  #began = 0;

  onTestModuleQueued(module: TestModule): void {
    this.#began = performance.now();
    tell({ index: indexOf(module), state: 'begun' });
  }

  onTestModuleEnd(module: TestModule): void {
    const index = indexOf(module);
    const { skips = 0 } = guest.rows[index] as TestRow;
    const tests = [...module.children.allTests()];
    const [passed, failed, skipped] = (['passed', 'failed', 'skipped'] as const).map((state) =>
      tests.filter((test) => test.result().state === state),
    );
    const details = [
      ...module.errors().map(({ message }) => message),
      ...[...module.children.allSuites()].flatMap((suite) => suite.errors().map(({ message }) => `${suite.fullName}: ${message}`)),
      ...failed.map((test) => `${test.fullName}: ${test.result().errors?.[0]?.message}`),
    ];
    const notes = tests.flatMap((test) => test.annotations().map(({ message }) => message));
    if (passed.length === 0) details.push('no test passed');
    if (skipped.length !== skips)
      details.push(...skipped.map((test) => `skipped: ${test.fullName}`), `${skipped.length} tests skipped, not ${skips}`);
    tell({
      index,
      state: 'ended',
      seconds: (performance.now() - this.#began) / 1000,
      result: [`${passed.length} tests${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`, ...notes].join('; '),
      ...(details.length > 0 ? { failure: details.length === 1 ? details[0] : `${failed.length} of ${tests.length} tests`, details } : {}),
      titles: passed.map((test) => test.fullName),
    });
  }
}
