// The hand-written part of the binding, by subject; each file lists its functions in one table.
#pragma once

#include "arguments.h"

namespace tessera {

struct CoreEntry {
  const char* name;
  Body body;
};

/** Detaches the ArrayBuffers whose tensors are gone; after every call that frees. */
void endStaleViews(Arguments& a);

/** Products and convolutions of float32 keep all bits: libtorch itself lets cuDNN round them. Until setTf32 says otherwise. */
void forbidTf32();

extern const CoreEntry kTensorFunctions[];
extern const CoreEntry kViewFunctions[];
extern const CoreEntry kAutogradFunctions[];
extern const CoreEntry kRuntimeFunctions[];
extern const CoreEntry kNoiseFunctions[];
extern const CoreEntry kDrawRowsFunctions[];
extern const CoreEntry kLinearRowsFunctions[];
extern const CoreEntry kLinearInt8Functions[];
extern const CoreEntry kAttendRowsFunctions[];
extern const CoreEntry kAttendTokensFunctions[];
extern const CoreEntry kLinearTilesFunctions[];
extern const CoreEntry kNormRowsFunctions[];
extern const CoreEntry kGeluFunctions[];
extern const CoreEntry kDistributedFunctions[];
extern const CoreEntry kReducerFunctions[];
extern const CoreEntry kCudaFunctions[];
extern const CoreEntry kPrecisionFunctions[];

}  // namespace tessera
