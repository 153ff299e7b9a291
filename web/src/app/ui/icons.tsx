/** Icons: 24 units, strokes of the text's colour. They never carry meaning alone: the control has a label. */
import type { JSX } from 'solid-js';

function icon(...paths: string[]) {
  return (props: { class?: string }): JSX.Element => (
    <svg class={`icon ${props.class ?? ''}`} viewBox="0 0 24 24" aria-hidden="true">
      {paths.map(path => (
        <path d={path} />
      ))}
    </svg>
  );
}

export const Back = icon('M15 5l-7 7 7 7');
export const Down = icon('M12 5v13', 'M6 12.5l6 6 6-6');
export const Close = icon('M6 6l12 12', 'M18 6L6 18');
export const Search = icon('M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z', 'M15.5 15.5L20 20');
export const Compose = icon(
  'M12 5H6a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-6',
  'M18.4 3.6a1.9 1.9 0 0 1 2.7 2.7L12.5 15 9 16l1-3.5z',
);
export const People = icon(
  'M9 5a3.2 3.2 0 1 1 0 6.4A3.2 3.2 0 0 1 9 5z',
  'M3 19c.5-3 2.8-5 6-5s5.5 2 6 5',
  'M15.5 5.3a3.2 3.2 0 0 1 0 5.8',
  'M17.5 14.3c1.9.7 3.1 2.4 3.5 4.7',
);
export const Person = icon(
  'M12 4.5a3.6 3.6 0 1 1 0 7.2 3.6 3.6 0 0 1 0-7.2z',
  'M5 19.5c.7-3.4 3.4-5.3 7-5.3s6.3 1.9 7 5.3',
);
export const Info = icon('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z', 'M12 11v5', 'M12 7.8v.1');
export const Send = icon('M4.5 12L3.5 4.5l17.5 7.5-17.5 7.5L4.5 12z', 'M4.5 12H12');
export const Pin = icon('M9 4h6l-.8 6 3.3 3.2H6.5L9.8 10z', 'M12 13.2V20');
export const Mute = icon(
  'M6.5 9.5a5.5 5.5 0 0 1 9-4.2',
  'M17.5 9.5c0 4 1.5 5.5 1.5 6.5H9',
  'M6.5 9.5c0 4-1.5 5.5-1.5 6.5h1',
  'M10.5 19a1.6 1.6 0 0 0 3 0',
  'M4 4l16 16',
);
export const Bell = icon(
  'M6.5 9.5a5.5 5.5 0 0 1 11 0c0 4 1.5 5.5 1.5 6.5H5c0-1 1.5-2.5 1.5-6.5z',
  'M10.5 19a1.6 1.6 0 0 0 3 0',
);
export const Archive = icon('M4 5h16v4H4z', 'M5.5 9v8.5a1.5 1.5 0 0 0 1.5 1.5h10a1.5 1.5 0 0 0 1.5-1.5V9', 'M10 13h4');
export const Reply = icon('M9.5 6L4 11.5 9.5 17', 'M4.5 11.5H14a6 6 0 0 1 6 6v1');
export const Smile = icon(
  'M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z',
  'M8.5 14c1.7 2.7 5.3 2.7 7 0',
  'M9 9.5v.1',
  'M15 9.5v.1',
);
export const More = icon(...[5.5, 12, 18.5].map(x => `M${x} 11.4a.6.6 0 1 1 0 1.2.6.6 0 0 1 0-1.2z`));
export const Copy = icon('M9 9h10v11H9z', 'M15 9V4H5v11h4');
export const Link = icon(
  'M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1.3 1.3',
  'M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.3-1.3',
);
export const Edit = icon('M17 4.3a1.9 1.9 0 0 1 2.7 2.7L8.5 18.2 4.5 19.5l1.3-4z');
export const Trash = icon('M4.5 7h15', 'M9.5 7V4.5h5V7', 'M6.5 7l.8 12.5h9.4L17.5 7');
export const Block = icon('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z', 'M6 6l12 12');
export const Leave = icon('M14 4H6v16h8', 'M10 12h10', 'M16.5 8l4 4-4 4');
export const Check = icon('M5 12.5l4.5 4.5L19 7.5');
export const Clock = icon('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z', 'M12 7.5V12l3 2');
export const Alert = icon('M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z', 'M12 7.5v5.5', 'M12 16.3v.1');
export const CheckTwice = icon('M2.5 12.5L7 17l8.5-9.5', 'M11 16l1.3 1L21 7.5');
export const Plus = icon('M12 5v14', 'M5 12h14');
export const AddPerson = icon(
  'M10 4.5a3.6 3.6 0 1 1 0 7.2 3.6 3.6 0 0 1 0-7.2z',
  'M3 19.5c.7-3.4 3.4-5.3 7-5.3 1.3 0 2.4.2 3.4.7',
  'M18 14v6',
  'M15 17h6',
);
