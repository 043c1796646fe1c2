/** Vitest's side of the table: tells the machine of each row, which is a file of tests, as it begins and ends. The files' rows are in RINGWARDEN_GUEST_ROWS. */
import { tell } from './events.mjs';

const rows = JSON.parse(process.env.RINGWARDEN_GUEST_ROWS ?? '{}');

/** In the sources' words: which row a module is. */
const rowOf = (module) => rows[module.relativeModuleId.replace(/\.js$/, '.ts')];

export default class GuestReporter {
  #began = new Map();

  onTestModuleQueued(module) {
    this.#began.set(module.id, performance.now());
    tell({ index: rowOf(module).index, state: 'begun' });
  }

  onTestModuleEnd(module) {
    const { index, skips } = rowOf(module);
    const tests = [...module.children.allTests()];
    const of = (state) => tests.filter((test) => test.result().state === state);
    const failures = [
      ...module.errors().map(({ message }) => message),
      ...[...module.children.allSuites()].flatMap((suite) => suite.errors().map(({ message }) => `${suite.fullName}: ${message}`)),
      ...of('failed').map((test) => `${test.fullName}: ${test.result().errors[0]?.message}`),
    ];
    const [passed, skipped] = [of('passed'), of('skipped')];
    if (passed.length === 0) failures.push('no test passed');
    if (skipped.length !== skips)
      failures.push(...skipped.map((test) => `${test.fullName}: skipped`), `${skipped.length} tests skipped, not ${skips}`);
    tell({
      index,
      state: 'ended',
      seconds: (performance.now() - this.#began.get(module.id)) / 1000,
      result: `${passed.length} tests${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`,
      ...(failures.length > 0
        ? { failure: failures.length === 1 ? failures[0] : `${of('failed').length} of ${tests.length} tests`, details: failures }
        : {}),
      titles: passed.map((test) => test.fullName),
    });
  }
}
