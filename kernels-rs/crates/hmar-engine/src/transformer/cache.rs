//! Keys and values of earlier scales, for block-causal attention (VAR).

use hmar_checkpoint::ModelConfig;
use hmar_error::Result;
use hmar_ops::{Backend, KeysValues, Rows, RowsCopy, RowsPlace};

use crate::memory::Arena;

/// Keys and values of the scales so far.
///
/// Those of the last scale serve its own pass alone. So each block keeps the scales before it, and the last scale's pass
/// puts what a block attends to together in a buffer of its activations that all blocks share.
pub(crate) struct Cache<B: Backend> {
    /// `[sequences, Σ p² before the last scale, 2, C]` a block.
    earlier: Vec<B::Features>,
    dimensions: Dimensions,
}

#[derive(Clone, Copy)]
struct Dimensions {
    /// N
    tokens: usize,
    /// Tokens before the last scale.
    earlier: usize,
    /// C
    width: usize,
}

impl<B: Backend> Cache<B> {
    pub(crate) fn place(arena: &Arena<'_, B>, config: &ModelConfig, sequences: usize) -> Result<Self> {
        let (tokens, width) = (config.tokens(), config.width);
        let last = config.pyramid.last().map_or(0, |side| side * side);
        let dimensions = Dimensions { tokens, earlier: tokens - last, width };
        let room = || arena.place_features(sequences * dimensions.earlier * 2 * width);
        Ok(Cache { earlier: (0..config.depth).map(|_| room()).collect::<Result<_>>()?, dimensions })
    }

    pub(super) fn of_block(&mut self, index: usize) -> BlockCache<'_, B> {
        let Cache { earlier, dimensions } = self;
        BlockCache { earlier: &mut earlier[index], dimensions: *dimensions }
    }
}

/// What a block has of a [`Cache`].
pub(super) struct BlockCache<'a, B: Backend> {
    earlier: &'a mut B::Features,
    dimensions: Dimensions,
}

impl<'a, B: Backend> BlockCache<'a, B> {
    /// Adds the keys and values of `qkv [rows, 3, C]`, whose scale begins at token `first`. Returns those of this scale and
    /// all before it; the last scale's are in `whole [sequences, N, 2, C]`.
    pub(super) fn extend(
        self,
        backend: &B,
        rows: Rows<'_, B>,
        first: usize,
        qkv: &B::Features,
        whole: &'a mut B::Features,
    ) -> Result<KeysValues<'a, B>> {
        let BlockCache { earlier, dimensions: Dimensions { tokens, earlier: kept, width } } = self;
        let columns = 2 * width;
        let from_start = |rows: usize| RowsPlace { rows, columns, row: 0, column: 0 };
        let of_scale = |capacity: usize| RowsCopy {
            sequences: rows.sequences,
            rows: rows.per_sequence,
            columns,
            from: RowsPlace { rows: rows.per_sequence, columns: 3 * width, row: 0, column: width },
            to: RowsPlace { row: first, ..from_start(capacity) },
        };
        if first < kept {
            backend.copy_rows(of_scale(kept), qkv, earlier)?;
            return Ok(KeysValues::Cached { rows: earlier, capacity: kept });
        }
        let (from, to) = (from_start(kept), from_start(tokens));
        let copy = RowsCopy { sequences: rows.sequences, rows: kept, columns, from, to };
        backend.copy_rows(copy, earlier, whole)?;
        backend.copy_rows(of_scale(tokens), qkv, whole)?;
        Ok(KeysValues::Cached { rows: whole, capacity: tokens })
    }
}
