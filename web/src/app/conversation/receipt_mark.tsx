/** The ticks of an own message: waiting, sent, delivered, read, not sent. The word is there for screen readers. */
import { Dynamic } from 'solid-js/web';
import { Alert, Check, CheckTwice, Clock } from '../ui/icons';

export type Mark = 'waiting' | 'sent' | 'delivered' | 'read' | 'failed';

const SHAPES = { waiting: Clock, sent: Check, delivered: CheckTwice, read: CheckTwice, failed: Alert };
const WORDS: Record<Mark, string> = {
  waiting: 'waiting to be sent',
  sent: 'sent',
  delivered: 'delivered',
  read: 'read',
  failed: 'not sent',
};

export function ReceiptMark(props: { receipt: Mark }) {
  return (
    <span class={`receipt ${props.receipt}`} role="img" aria-label={WORDS[props.receipt]}>
      <Dynamic component={SHAPES[props.receipt]} class="small" />
    </span>
  );
}
