import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Request } from '../../../src/client/request.js';
import { Waiting } from '../../../src/client/waiting.js';

const requestOf = (number: number): Request => ({ number }) as unknown as Request;

test('requests wait in turn, however many come and go', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push'), count: fc.integer({ min: 1, max: 200 }) }),
    fc.record({ kind: fc.constant('shift'), count: fc.integer({ min: 1, max: 200 }) }),
    fc.record({ kind: fc.constant('rotate'), count: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ kind: fc.constant('drain'), count: fc.constant(1) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const waiting = new Waiting();
      let model: Request[] = [];
      let next = 0;
      for (const { kind, count } of steps) {
        for (let time = 0; time < count; time++) {
          if (kind === 'push') {
            const request = requestOf(next++);
            model.push(request);
            waiting.push(request);
          } else if (kind === 'drain') {
            expect(waiting.drain()).toEqual(model);
            model = [];
          } else if (model.length > 0) {
            const first = model.shift() as Request;
            expect(waiting.first).toBe(first);
            if (kind === 'rotate') {
              model.push(first);
              waiting.rotate();
            } else waiting.shift();
          }
        }
        expect(waiting.empty).toBe(model.length === 0);
      }
      expect(waiting.drain()).toEqual(model);
    }),
  );
});
