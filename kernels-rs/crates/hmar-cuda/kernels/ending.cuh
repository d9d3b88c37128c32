// How our products end; the host's `KernelEnding`.
#pragma once

enum Ending : int { FEATURES, GELU, FLOAT32, GATED, GELU_E4M3 };
