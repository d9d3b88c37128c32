//! The engine against the goldens: outputs of a PyTorch implementation of the same specification.

mod golden;
mod synthetic;
