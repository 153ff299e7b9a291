/** What `GET /v1/admin/cluster` answers, and what the page says of it. Pure. */
export interface Fleet {
  is_alone: boolean;
  view_epoch: number;
  /** The view that the counts of shards are of. */
  counted_epoch: number;
  shards: number;
  moving: number;
  nodes: FleetNode[];
}

export interface FleetNode {
  id: string;
  /** `null`: it is gone. */
  name: string | null;
  url: string | null;
  address: string | null;
  weight: number;
  state: 'live' | 'draining' | 'gone';
  quiet_ms: number;
  is_silent: boolean;
  hosted: number;
  wished: number;
  answers: boolean;
}

export interface Row {
  id: string;
  name: string;
  /** What tells it from the others at a glance: that it is the one asked. */
  note: string;
  place: string;
  state: string;
  tone: 'well' | 'busy' | 'bad';
  shards: string;
  /** Both of 100, of the most that any node hosts or shall host. */
  hosted: number;
  wished: number;
  quiet: string;
  canDrain: boolean;
  canRemove: boolean;
  /** It says that it lives: whoever removes it has to mean it. */
  needsForce: boolean;
}

const count = (number: number) => number.toLocaleString('en');

export function rowsOf(fleet: Fleet): Row[] {
  const most = Math.max(1, ...fleet.nodes.flatMap(node => [node.hosted, node.wished]));
  const takers = fleet.nodes.filter(node => node.state === 'live').length;
  return fleet.nodes.map(node => {
    const isMember = !fleet.is_alone && node.state !== 'gone';
    return {
      id: node.id,
      name: node.name ?? node.id.slice(0, 8),
      note: node.answers && !fleet.is_alone ? 'answers here' : '',
      place: node.url ?? node.address ?? '',
      ...stateOf(node),
      shards: node.hosted === node.wished ? count(node.hosted) : `${count(node.hosted)} of ${count(node.wished)}`,
      hosted: (node.hosted / most) * 100,
      wished: (node.wished / most) * 100,
      quiet: quietOf(node.quiet_ms),
      canDrain: isMember && node.state === 'live' && takers > 1,
      canRemove: isMember && !node.answers,
      needsForce: !node.is_silent,
    };
  });
}

function stateOf(node: FleetNode): Pick<Row, 'state' | 'tone'> {
  if (node.state === 'gone') return { state: 'gone', tone: 'bad' };
  if (node.is_silent) return { state: node.state === 'draining' ? 'draining, silent' : 'silent', tone: 'bad' };
  return node.state === 'draining' ? { state: 'draining', tone: 'busy' } : { state: 'live', tone: 'well' };
}

/** Beats come each second: what is below that is now. */
function quietOf(quietMs: number): string {
  if (quietMs < 1_500) return 'now';
  const seconds = Math.round(quietMs / 1_000);
  return seconds < 120 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
}

export function summaryOf(fleet: Fleet): string {
  if (fleet.is_alone) return 'This server works alone. There is no fleet.';
  const live = fleet.nodes.filter(node => node.state !== 'gone').length;
  const nodes = live === 1 ? 'One node' : `${live} nodes`;
  if (fleet.counted_epoch < fleet.view_epoch) return `${nodes}. The shards are being counted anew.`;
  if (fleet.moving === 0) return `${nodes}. Every shard is where it should be.`;
  return `${nodes}. ${count(fleet.moving)} of ${count(fleet.shards)} shards are on their way.`;
}
