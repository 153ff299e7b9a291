/** Somebody in a list of people to choose from. */
import { type Item, itemName } from '../../sdk';
import { useApp } from '../context';
import { Avatar } from '../ui/avatar';

/** `item`: the direct conversation with them. */
export function PersonButton(props: { item: Item; onChoose: (user: string) => void }) {
  const { state } = useApp();
  const name = () => itemName(state(), props.item);
  const user = () => props.item.with ?? '';
  return (
    <button
      class="person"
      type="button"
      // A field that stands by keeps the focus: what is half typed there is not taken for done.
      onMouseDown={event => event.preventDefault()}
      onClick={() => props.onChoose(user())}
    >
      <Avatar name={name()} id={user()} size="small" />
      <span class="person-name" dir="auto">
        {name()}
      </span>
      <span class="muted person-id">@{user()}</span>
    </button>
  );
}
