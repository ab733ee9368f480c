export { type ByteReader, bytesReader, checkRange, concatBytes, rangeReader } from './byte-reader.ts';
export { crc32, crc32c } from './crc.ts';
export * from './dtype.ts';
export { FormatError, type FormatPlace } from './format-error.ts';
export { type NpyHeader, readNpyHeader } from './npy/header.ts';
export { encodeNpy, encodeNpyHeader, type NpyArray, readNpy } from './npy/npy.ts';
export { encodeNpz, type NpzArchive, type NpzWriteOptions, npzChunks, readNpz } from './npy/npz.ts';
export { NpzArrayStream } from './npy/npz-stream.ts';
export {
  ONNX_DTYPES,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
} from './onnx/model.ts';
export { readOnnx } from './onnx/read.ts';
export { encodeOnnx, onnxChunks } from './onnx/write.ts';
export { readPngText, withPngText } from './png/text.ts';
export {
  readSafetensorsHeader,
  readTensorBytes,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors/read.ts';
export { encodeSafetensors, safetensorsChunks, type TensorToWrite } from './safetensors/write.ts';
export { type TarEntry, tarEntries } from './tar/read.ts';
export { intactLength, readEvents, type TfEvent, type TfValue } from './tfevents/read.ts';
export { type EventImage, encodeFileVersionEvent, encodeImageEvent, encodeScalarEvent } from './tfevents/write.ts';
export { readTorchCheckpoint, type TorchReadOptions } from './torch/checkpoint.ts';
export { OrderedDict, PickleFloat, PickleTuple, type TorchWritable } from './torch/pickle-write.ts';
export { atPath, flattenStateDict } from './torch/state-dict.ts';
export { TorchStorage, TorchTensor } from './torch/tensor.ts';
export type { TorchDevice, TorchDict, TorchDTypeValue, TorchKey, TorchNamespace, TorchValue } from './torch/values.ts';
export { encodeTorchCheckpoint, type TorchWriteOptions, torchCheckpointChunks } from './torch/write.ts';
export { openZip, type ZipArchive, type ZipOptions } from './zip/archive.ts';
export type { ZipEntry } from './zip/directory.ts';
export { type ZipEntryToWrite, type ZipWriteOptions, zipChunks } from './zip/write.ts';
