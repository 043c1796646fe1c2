/** Runs the validator beside the oracle over seeded requests, and says how often each verdict came up. */
import { codeName } from '../../src/protocol/index.js';
import { admit, attachmentToFetch } from '../../src/validator/index.js';
import { makeScene, nextCase, Specimen } from './generate.js';
import { judge, mayFetch, staysInside } from './judge.js';
import { Random } from './random.js';

/** Requests that start from one seed: a difference is found again by running this one batch. */
const BATCH = 5_000;
/** Requests judged in one world. */
const SCENE = 250;

/** Compares `count` verdicts (rounded up to whole batches); throws at the first difference, with what it takes to see it again. */
export function differential(seed: number, count: number): Map<string, number> {
  const histogram = new Map<string, number>();
  const specimen = new Specimen();
  for (let done = 0; done < count; done += BATCH) {
    const batchSeed = (seed + done / BATCH) >>> 0;
    runBatch(batchSeed, specimen, histogram);
  }
  return histogram;
}

function runBatch(batchSeed: number, specimen: Specimen, histogram: Map<string, number>): void {
  const random = new Random(batchSeed);
  for (let done = 0; done < BATCH; done += SCENE) {
    const scene = makeScene(random);
    const { world, grant, lease } = scene;
    for (let count = 0; count < SCENE; count++) {
      nextCase(random, scene, specimen);
      const told = codeName(admit(specimen.entry, specimen.attachment, grant, lease)) ?? 'not a code';
      const fetched = specimen.fetched;
      const right = judge(specimen.view, fetched, world);
      const toFetch = attachmentToFetch(specimen.entry, lease.regions);
      const fetchable = mayFetch(specimen.view, world);
      const escaped = told === 'ok' && !staysInside(specimen.view, fetched, world);
      if (told !== right || toFetch !== fetchable || escaped) {
        const entry = [...specimen.entry].map((word) => word.toString(16)).join(' ');
        const verdicts = `the validator says ${told} and fetches ${toFetch}, the oracle says ${right} and fetches ${fetchable}`;
        throw new Error(`${verdicts}: entry ${entry}, ${fetched.byteLength} bytes fetched; RINGWARDEN_SEED=${batchSeed} runs it again first`);
      }
      histogram.set(told, (histogram.get(told) ?? 0) + 1);
    }
  }
}
