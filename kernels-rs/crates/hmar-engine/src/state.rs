//! Where a generation is between two passes, as plain data.

use std::collections::HashMap;
use std::ops::Range;

use bytemuck::Pod;
use hmar_checkpoint::ModelConfig;
use hmar_error::{Code, Error, Result};
use hmar_ops::Backend;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::request::Request;
use crate::tokenizer::{check_tokens, grid_side};
use crate::{Kept, Model};

/// The form that [`State::to_bytes`] writes.
const VERSION: u32 = 1;

/// The one entry of the file's metadata: several would be written in any order.
const HEAD: &str = "hmar session";

/// What is saved besides tensors.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    version: u32,
    next: usize,
    chosen: bool,
    model: &'a str,
    description: String,
}

/// The description that [`crate::Stepper::save`] was given.
///
/// # Errors
/// `SESSION_INVALID` for what is no saved session, or one of another version.
pub fn saved_description(bytes: &[u8]) -> Result<String> {
    let json = read_head(bytes)?;
    Ok(parse_head(&json)?.description)
}

/// Everything that later passes depend on besides model and request. A cache of keys and values is left out: it follows
/// from the rest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// Index of the pass that comes next.
    pub(crate) next: usize,
    /// What the generation keeps.
    pub(crate) kept: Option<Kept>,
    /// Tokens of an image, N.
    width: usize,
    /// `[images, N]`
    tokens: Vec<u32>,
    /// Those of the scale of the pass done last, `[images, p²]`; so are the two that follow.
    pub(crate) current: Vec<u32>,
    pub(crate) confidence: Vec<f32>,
    pub(crate) open: Vec<u8>,
    /// The next pass draws what is open, rather than what the plan says.
    pub(crate) chosen: bool,
    /// `f̂ [images, S, S, Z]`
    pub(crate) latent: Vec<f32>,
    /// The same before the scale of the pass done last.
    pub(crate) before: Vec<f32>,
    /// Of which model.
    fingerprint: String,
}

impl State {
    /// Before the first pass.
    pub(crate) fn start<B: Backend>(model: &Model<B>, images: usize, kept: Option<Kept>) -> Result<Self> {
        let config = model.config();
        let width = config.tokens();
        let latent = vec![0.0; images * latent_length(config)];
        Ok(State {
            next: 0,
            kept,
            width,
            tokens: vec![0; images * width],
            current: Vec::new(),
            confidence: Vec::new(),
            open: Vec::new(),
            chosen: false,
            before: latent.clone(),
            latent,
            fingerprint: model.fingerprint()?.to_owned(),
        })
    }

    /// The tokens of all scales so far, `[images, N]`; 0 for those to come.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Part of every image's tokens.
    pub(crate) fn tokens_of(&self, range: Range<usize>) -> Vec<u32> {
        self.tokens.chunks_exact(self.width).flat_map(|map| &map[range.clone()]).copied().collect()
    }

    /// Replaces the tokens of a scale, and makes it the current one.
    pub(crate) fn set_scale(&mut self, range: Range<usize>, current: Vec<u32>) {
        let maps = self.tokens.chunks_exact_mut(self.width);
        for (map, tokens) in maps.zip(current.chunks_exact(range.len())) {
            map[range.clone()].copy_from_slice(tokens);
        }
        self.current = current;
    }

    /// Refuses states that did not come from such a model, or that the request cannot go on from.
    pub(crate) fn check<B: Backend>(&self, model: &Model<B>, request: &Request) -> Result<()> {
        let config = model.config();
        if self.fingerprint != model.fingerprint()? {
            return Err(invalid("It is one of another model.").remedy("Load the model it was saved with."));
        }
        request.plan.check(config)?;
        let images = request.labels.len();
        if self.tokens.len() != images * config.tokens() || self.next > request.plan.passes.len() {
            return Err(invalid("It does not fit the request.")
                .found(format!("{} tokens before pass {}", self.tokens.len(), self.next))
                .expected(format!(
                    "{images} images of {} tokens, {} passes",
                    config.tokens(),
                    request.plan.passes.len()
                )));
        }
        for map in self.tokens.chunks_exact(config.tokens()) {
            check_tokens(map, &config.pyramid, config.codebook_size).map_err(not_a_session)?;
        }
        let latents = [&self.latent, &self.before];
        let fit = |latent: &&Vec<f32>| latent.len() == images * latent_length(config);
        if !latents.iter().all(fit) || !latents.into_iter().flatten().all(|x| x.is_finite()) {
            return Err(invalid("Its latents are damaged."));
        }
        self.check_scale(config, request, images)
    }

    fn check_scale(&self, config: &ModelConfig, request: &Request, images: usize) -> Result<()> {
        let range = match self.next {
            0 => 0..0,
            next => request.scale_of(&config.pyramid, next - 1),
        };
        let kept = self.kept.as_ref().map(|kept| &kept.free()[range.clone()]);
        let is_kept = |at: usize| kept.is_some_and(|free| free[at % free.len()] == 0);
        let sound = |at: usize| {
            let (confidence, open) = (self.confidence[at], self.open[at]);
            match is_kept(at) {
                true => confidence == f32::INFINITY && open == 0,
                false => (0.0..=1.0).contains(&confidence) && open <= 1,
            }
        };
        let length = images * range.len();
        let lengths = [self.current.len(), self.confidence.len(), self.open.len()];
        if lengths != [length; 3] || !(0..length).all(sound) || self.current != self.tokens_of(range) {
            return Err(invalid("What it says of its last pass is damaged, or of another scale."));
        }
        Ok(())
    }

    /// The state as the bytes of a `.safetensors` file, with a description of the caller's own.
    ///
    /// # Errors
    /// `INTERNAL`
    pub(crate) fn to_bytes(&self, description: &str) -> Result<Vec<u8>> {
        let images = self.tokens.len() / self.width;
        let mut tensors = vec![
            ("tokens", tensor(Dtype::U32, images, &self.tokens)?),
            ("current", tensor(Dtype::U32, images, &self.current)?),
            ("confidence", tensor(Dtype::F32, images, &self.confidence)?),
            ("open", tensor(Dtype::U8, images, &self.open)?),
            ("latent", tensor(Dtype::F32, images, &self.latent)?),
            ("before", tensor(Dtype::F32, images, &self.before)?),
        ];
        if let Some(kept) = &self.kept {
            tensors.push(("kept.tokens", tensor(Dtype::U32, 1, kept.tokens())?));
            tensors.push(("kept.free", tensor(Dtype::U8, 1, kept.free())?));
        }
        let (next, chosen, model) = (self.next, self.chosen, &*self.fingerprint);
        let head = Head { version: VERSION, next, chosen, model, description: description.to_owned() };
        let head = serde_json::to_string(&head).map_err(unwritable)?;
        let metadata = HashMap::from([(HEAD.to_owned(), head)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(unwritable)
    }

    /// Reads what [`State::to_bytes`] wrote. Whether it fits a model is seen where it is resumed.
    ///
    /// # Errors
    /// `SESSION_INVALID` for what is no session, or one of another version.
    pub(crate) fn from_bytes(bytes: &[u8], config: &ModelConfig) -> Result<Self> {
        let json = read_head(bytes)?;
        let head = parse_head(&json)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(not_a_session)?;
        let kept = match tensors.tensor("kept.tokens") {
            Ok(_) => {
                let (tokens, free) = (read(&tensors, "kept.tokens")?, read(&tensors, "kept.free")?);
                Some(Kept::from_parts(config, tokens, free).map_err(not_a_session)?)
            }
            Err(_) => None,
        };
        Ok(State {
            next: head.next,
            kept,
            width: config.tokens(),
            tokens: read(&tensors, "tokens")?,
            current: read(&tensors, "current")?,
            confidence: read(&tensors, "confidence")?,
            open: read(&tensors, "open")?,
            chosen: head.chosen,
            latent: read(&tensors, "latent")?,
            before: read(&tensors, "before")?,
            fingerprint: head.model.to_owned(),
        })
    }
}

fn latent_length(config: &ModelConfig) -> usize {
    grid_side(&config.pyramid).pow(2) * config.code_dimension
}

fn tensor<T: Pod>(dtype: Dtype, images: usize, values: &[T]) -> Result<TensorView<'_>> {
    TensorView::new(dtype, vec![images, values.len() / images], bytemuck::cast_slice(values))
        .map_err(unwritable)
}

fn unwritable(error: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, "A session cannot be written.").found(error)
}

fn read_head(bytes: &[u8]) -> Result<String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(not_a_session)?;
    let head = metadata.metadata().as_ref().and_then(|entries| entries.get(HEAD));
    head.cloned().ok_or_else(|| not_a_session(format!("no entry '{HEAD}'")))
}

fn parse_head(json: &str) -> Result<Head<'_>> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(json).map_err(not_a_session)?;
    if version != VERSION {
        return Err(invalid("It is of another version.").found(version).expected(VERSION));
    }
    serde_json::from_str(json).map_err(not_a_session)
}

fn read<T: Pod + Scalar>(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<T>> {
    let tensor = tensors.tensor(name).map_err(not_a_session)?;
    if tensor.dtype() != T::DTYPE {
        return Err(not_a_session(format!("{name} of {}", tensor.dtype())));
    }
    Ok(bytemuck::pod_collect_to_vec(tensor.data()))
}

trait Scalar {
    const DTYPE: Dtype;
}

impl Scalar for u32 {
    const DTYPE: Dtype = Dtype::U32;
}

impl Scalar for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

impl Scalar for u8 {
    const DTYPE: Dtype = Dtype::U8;
}

fn not_a_session(found: impl std::fmt::Display) -> Error {
    invalid("It is not one, or damaged.").found(found).expected("what a session was saved as")
}

fn invalid(reason: &str) -> Error {
    Error::new(Code::SessionInvalid, format!("The saved session cannot be restored. {reason}"))
}
