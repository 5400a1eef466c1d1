/**
 * One guest in words. When nobody knows for sure where it runs, the text says who holds what, why,
 * and which command resolves it.
 */
import type { GuestDetail } from '@godwit/protocol';
import { ageText, bytesText, countText, rateText, timeText } from './format.ts';

export function guestText(g: GuestDetail): string {
  const isClear = g.state !== 'doubt' && g.state !== 'unreachable' && g.state !== 'lost';
  const lines = isClear ? [titleText(g), ...factLines(g)] : [titleText(g), ...holderLines(g)];
  return `${lines.join('\n')}\n`;
}

function titleText(g: GuestDetail): string {
  const state = g.state === 'doubt' ? 'in doubt' : g.state;
  const where = g.state === 'running' || g.state === 'stopped' ? ` on ${g.host}` : '';
  return `${g.name}  ${state}${where}${g.evidence ? `  ${g.evidence}` : ''}`;
}

function factLines(g: GuestDetail): string[] {
  const facts: [string, string][] = [
    ['kind', g.image ? `${g.kind}, ${imageText(g)}` : g.kind],
    ['memory', `${bytesText(g.memoryBytes)}, ${g.harts} ${g.harts === 1 ? 'hart' : 'harts'}`],
    ['clock', g.clock],
    ['dirty', `${rateText(g.dirtyBytesPerS)}, working set ${bytesText(g.workingSetBytes)}`],
    ['owner', `${g.host}, epoch ${g.epoch}`],
    ['created', `${timeText(g.createdAtMs)}, ${ageText(Date.now() - g.createdAtMs)} ago`],
  ];
  if (g.kind === 'machine') facts.push(['instructions', countText(g.instructions)]);
  if (g.spec.workload) {
    const w = g.spec.workload;
    const rate = w.rateMiBps === undefined ? 'unlimited' : `${w.rateMiBps} MiB/s`;
    facts.push(['workload', `${w.pattern}, ${w.content}, ${rate}, seed ${w.seed}`]);
    facts.push(['writes', `${countText(g.writes)}, witness ${countText(g.witnessWrites)}`]);
  }
  if (g.migration !== undefined) facts.push(['migration', `godwit migration watch ${g.migration}`]);
  if (g.end !== undefined) facts.push(['ended', `${g.end.why}, code ${g.end.code}`]);
  if (g.digest !== undefined) facts.push(['digest', g.digest]);
  return facts.map(([label, value]) => `  ${label.padEnd(14)}${value}`);
}

/** A name may stand for another image tomorrow, so the digest is said with it. */
function imageText({ image = '', imageDigest }: GuestDetail): string {
  return imageDigest === undefined ? image : `${image} (image ${imageDigest.slice(0, 12)})`;
}

function holderLines(g: GuestDetail): string[] {
  const width = Math.max(11, ...g.holders.map((holder) => holder.host.length));
  const lines = g.holders.map((holder) => {
    const silent = holder.reachable
      ? ''
      : `not reachable since ${ageText(holder.silentMs)}, last said: `;
    const who = `(agent ${holder.host}, incarnation ${holder.incarnation.slice(0, 4)})`;
    return `  ${holder.host.padEnd(width)}  ${silent}${holder.says}  ${who}`;
  });
  const verdict = g.verdict.owner === 'none' ? 'no verdict' : `verdict ${g.verdict.owner}`;
  lines.push(`  ${'coordinator'.padEnd(width)}  ${verdict} for epoch ${g.verdict.epoch}`);
  return [...lines, ...(g.resolve ?? [])];
}
