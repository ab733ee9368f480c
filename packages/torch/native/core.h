// The hand-written part of the binding, by subject; each file lists its functions in one table.
#pragma once

#include "arguments.h"

namespace tessera {

struct CoreEntry {
  const char* name;
  Body body;
};

extern const CoreEntry kTensorFunctions[];
extern const CoreEntry kAutogradFunctions[];
extern const CoreEntry kRuntimeFunctions[];
extern const CoreEntry kNoiseFunctions[];
extern const CoreEntry kLinearRowsFunctions[];

}  // namespace tessera
