export interface RgbImage {
  width: number;
  height: number;
  data: Uint8Array;
}
