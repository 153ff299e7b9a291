/** Where one is logged in: each device with what it is and when it was seen, to be named or logged out. */
import { createResource, createSignal, For, Show } from 'solid-js';
import type { Device } from '../../sdk';
import { useApp } from '../context';
import { lastSeen } from '../text/time';
import { Dialog } from '../ui/dialog';
import { More } from '../ui/icons';
import { type MenuAct, openMenu } from '../ui/menu';
import { attempt, toast } from '../ui/toast';

const nameOf = (device: Device) => device.name || device.platform || device.device;

export function DevicesDialog(props: { onClose: () => void }) {
  const { client, now, logOut } = useApp();
  const [devices, { refetch }] = createResource(async () => {
    let found: Device[] = [];
    await attempt(
      client.devices().then(all => {
        found = all;
      }),
      'Your devices were not loaded',
    );
    // This one first, then those that were here last.
    const age = (device: Device) => (isThis(device) ? 2 : device.connected ? 1 : 0);
    return found.sort((one, other) => age(other) - age(one) || (other.last_seen ?? 0) - (one.last_seen ?? 0));
  });
  const [renamed, setRenamed] = createSignal<string | null>(null);
  const isThis = (device: Device) => device.device === client.device;

  async function revoke(device: Device): Promise<void> {
    if (await attempt(client.revokeDevice(device.device), 'It is still logged in')) {
      toast(`${nameOf(device)} is logged out.`);
      await refetch();
    }
  }

  async function rename(device: Device, name: string): Promise<void> {
    setRenamed(null);
    if (name === (device.name ?? '')) return;
    if (await attempt(client.changeDevice(device.device, { name }), 'It was not renamed')) await refetch();
  }

  function menu(beside: Element, device: Device): void {
    const acts: MenuAct[] = [
      { label: 'Rename', run: () => setRenamed(device.device) },
      isThis(device)
        ? { label: 'Log out here', isDangerous: true, run: logOut }
        : { label: 'Log it out', isDangerous: true, run: () => void revoke(device) },
    ];
    openMenu(beside, { label: nameOf(device), acts });
  }

  return (
    <Dialog title="Devices" onClose={props.onClose}>
      <p class="muted small-print">You are logged in on these. Log out what you do not know or use any more.</p>
      <ul class="devices" aria-busy={devices.loading}>
        <For each={devices()}>
          {device => (
            <li class="device">
              <Show
                when={renamed() === device.device}
                fallback={
                  <>
                    <div class="device-text">
                      <span class="device-name" dir="auto">
                        {nameOf(device)}
                        <Show when={isThis(device)}>
                          <span class="role">this device</span>
                        </Show>
                      </span>
                      <span class="muted small-print">{about(device, now())}</span>
                    </div>
                    <button
                      class="icon-button"
                      type="button"
                      aria-label={`What to do with ${nameOf(device)}`}
                      onClick={event => menu(event.currentTarget, device)}
                    >
                      <More />
                    </button>
                  </>
                }
              >
                <Rename device={device} onDone={name => void rename(device, name)} onCancel={() => setRenamed(null)} />
              </Show>
            </li>
          )}
        </For>
      </ul>
    </Dialog>
  );
}

/** What it is, where it has a name besides, and when it was here. */
function about(device: Device, now: number): string {
  const what = device.name && device.platform ? [device.platform] : [];
  if (device.connected) return [...what, 'connected'].join(' · ');
  return [...what, device.last_seen === null ? 'never seen' : lastSeen(device.last_seen, now)].join(' · ');
}

function Rename(props: { device: Device; onDone: (name: string) => void; onCancel: () => void }) {
  let field!: HTMLInputElement;
  return (
    <form
      class="field-row"
      onSubmit={event => {
        event.preventDefault();
        props.onDone(field.value.trim());
      }}
    >
      <input
        class="field"
        aria-label="Name of the device"
        maxLength={64}
        placeholder={props.device.platform ?? props.device.device}
        value={props.device.name ?? ''}
        ref={input => {
          field = input;
          queueMicrotask(() => input.select());
        }}
        onKeyDown={event => {
          if (event.key !== 'Escape') return;
          event.preventDefault();
          props.onCancel();
        }}
      />
      <button class="button primary" type="submit">
        Save
      </button>
    </form>
  );
}
