/**
 * Which images a grid shows, and where. Images lie round and round by class (class-choice.ts); a grid has one class a
 * row, with whole columns only. A grid is for looking at: however many images there are, it stays a picture that
 * programs can open.
 */

export interface GridOrder {
  /** Indices of images, row by row. */
  indices: number[];
  columns: number;
  rowsAreClasses: boolean;
}

const MOST_ROWS = 64;
const MOST_COLUMNS = 32;
const MOST_PIXELS = 2 ** 26;

/** @param side pixels of an image's side in the grid */
export function gridOrder(numImages: number, numClasses: number, side: number): GridOrder {
  const room = Math.max(1, Math.floor(MOST_PIXELS / side ** 2));
  const rows = Math.min(numClasses, MOST_ROWS, room);
  const perClass = Math.floor(numImages / numClasses);
  const columns = Math.min(perClass, MOST_COLUMNS, Math.floor(room / rows));
  if (numClasses === 1 || columns < 2) {
    // One image of each class, or less: a square says more than a single column.
    const count = Math.min(numImages, room, MOST_ROWS * MOST_COLUMNS);
    const indices = Array.from({ length: count }, (_, i) => i);
    return { indices, columns: Math.ceil(Math.sqrt(count)), rowsAreClasses: false };
  }
  const indices = Array.from(
    { length: rows * columns },
    (_, place) => (place % columns) * numClasses + Math.floor(place / columns),
  );
  return { indices, columns, rowsAreClasses: true };
}
