/** The mark of the product: a message with a tide in it. */
export function Mark(props: { class?: string }) {
  return (
    <svg class={props.class} viewBox="0 0 48 48" aria-hidden="true">
      <rect width="48" height="48" rx="12" class="mark-ground" />
      <path
        class="mark-bubble"
        d="M12 14h24a4 4 0 0 1 4 4v11a4 4 0 0 1-4 4H23.5l-7 5.8c-.8.6-1.7.1-1.7-.9V33H12a4 4 0 0 1-4-4V18a4 4 0 0 1 4-4z"
      />
      <path class="mark-tide" d="M12 24.5c2.7-3.2 5.3-3.2 8 0s5.3 3.2 8 0 5.3-3.2 8 0" />
    </svg>
  );
}
