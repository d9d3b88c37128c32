//! HMAR's tokenizer, transformer and plan executor, written once against [`hmar_ops::Backend`].
//!
//! [`Model`] and [`Tokenizer`] hold weights; a [`Session`] holds the buffers of a batch and runs a [`Plan`] pass by
//! pass.

mod cancel;
mod generation;
mod load;
mod model;
mod plan;
mod positions;
mod quantizer;
mod tokenizer;
mod transformer;

pub use cancel::Cancel;
pub use generation::{Event, Generated, Request, Session, Timings};
pub use load::LoadOptions;
pub use model::Model;
pub use plan::{Pass, PassKind, Plan};
pub use positions::PositionOrder;
pub use tokenizer::Tokenizer;
