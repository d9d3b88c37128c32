//! HMAR's tokenizer, transformer and plan executor, written once against [`hmar_ops::Backend`].
//!
//! [`Model`] and [`Tokenizer`] hold weights; a [`Session`] holds the buffers of a batch and runs a [`Plan`] to its end; a
//! [`Stepper`] runs it pass by pass.

#![forbid(unsafe_code)]

mod buffers;
mod cancel;
mod editing;
mod generation;
mod load;
mod memory;
mod model;
mod passes;
mod plan;
mod positions;
mod quantizer;
mod request;
mod state;
mod stepping;
mod tokenizer;
mod transformer;

pub use cancel::Cancel;
pub use editing::Kept;
pub use generation::Session;
pub use load::LoadOptions;
pub use model::Model;
pub use plan::{Pass, PassKind, Plan};
pub use positions::PositionOrder;
pub use request::{Event, Generated, Request, Timings};
pub use state::saved_description;
pub use stepping::{ScaleView, Stepper};
pub use tokenizer::Tokenizer;
