// What a draw depends on besides its logits: hmar_ops::DrawSettings.
#pragma once

#include <cstdint>

struct DrawSettings {
  double guidance;
  double top_p;
  double min_p;
  double ramp;
  uint64_t seed;
  float temperature;
  uint32_t top_k;
  uint32_t pass;
  uint32_t first_image;
  uint32_t open;
  uint32_t revises;
};
