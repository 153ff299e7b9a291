/** Notes who has the focus now; the act that is returned gives it back, unless somebody else has taken it since. */
export function returnFocus(): () => void {
  const before = document.activeElement;
  return () =>
    // Once the element that goes is out of the page: closing a modal dialog and removing it in one turn leaves Chromium
    // with a focus that takes no text.
    queueMicrotask(() => {
      const isFree = document.activeElement === null || document.activeElement === document.body;
      if (isFree && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    });
}
