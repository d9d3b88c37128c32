use crate::config::PYRAMID_256;
use crate::{Layout, ModelConfig};
use std::collections::BTreeMap;

/// The licence of the weights that NVIDIA released.
pub(crate) const NVIDIA: &str = "NVIDIA One-Way Noncommercial License";

/// The licence that a file states, or that the released weights of this form have.
pub(crate) fn license_of(metadata: &BTreeMap<String, String>, model: Option<&ModelConfig>) -> Option<String> {
    metadata
        .get("license")
        .cloned()
        .or_else(|| model.is_some_and(is_released_hmar).then(|| NVIDIA.to_string()))
}

/// Whether a model has the form of hmar-d16, -d20, -d24 or -d30.
fn is_released_hmar(config: &ModelConfig) -> bool {
    let released = ModelConfig::released(config.depth, Layout::Combined);
    let plain = ModelConfig { name: None, labels: None, sampling: None, ..config.clone() };
    [16, 20, 24, 30].contains(&config.depth) && config.pyramid == PYRAMID_256 && plain == released
}
