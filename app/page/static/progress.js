// How far a reading is: its place in the queue, or the step at work.
import { el } from './dom.js';

const STEPS = 41; // about as many as a reading has; the bar is a guide, the words are exact

export function progress(job) {
  if (job.state === 'waiting') {
    return el(
      'span',
      {},
      job.position ? `waiting, ${job.position} before it` : 'waiting, next',
      job.step === 'waiting' ? '' : ` (${job.step})`,
    );
  }
  return el(
    'span',
    { class: 'steps' },
    el('progress', { max: STEPS, value: Math.min(job.steps, STEPS - 1), 'aria-label': 'Reading' }),
    ` ${job.step}`,
  );
}
