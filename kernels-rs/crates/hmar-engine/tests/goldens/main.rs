//! The engine against the goldens: outputs of a PyTorch implementation of the same specification.

mod editing;
mod golden;
mod shapes;
mod stepping;
mod synthetic;
